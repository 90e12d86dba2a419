"""Every kernel file compiled for every architecture, side by side on all cores."""

import dataclasses
import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from cnn.kernels import FOLDER, compile_options, kernels_of, source_names, source_text
from cnn.kernels.nvrtc import ARCHITECTURES, Compiled, NvrtcMissingError, Resources, compile_file, nvrtc_version


@pytest.fixture(scope="session")
def nvrtc() -> tuple[int, int]:
    """NVRTC's version; tests that use this are skipped where there is none."""
    try:
        return nvrtc_version()
    except NvrtcMissingError as error:
        pytest.skip(str(error))


class Compilations:
    """Compiles all files from the first question on, what was asked for first.

    As it takes a minute, results are kept in pytest's cache (.pytest_cache), by a digest of all that goes into them.
    """

    def __init__(self, version, cache) -> None:
        self.version, self.cache = version, cache
        self.pool = ThreadPoolExecutor(os.cpu_count())
        self.jobs: dict[tuple[str, int], Future] = {}
        # What every file's result depends on: the headers, and the code that reads the compiler's log.
        shared = b"".join(path.read_bytes() for path in [*sorted(FOLDER.glob("*.cuh")), FOLDER / "nvrtc.py"])
        self.shared = hashlib.sha256(shared).hexdigest()

    def __call__(self, source: str, architecture: int) -> Compiled:
        """The result. Raises CompileError."""
        asked = (source, architecture)
        if not self.jobs:
            everything = [(each, sm) for each in source_names() for sm in ARCHITECTURES]
            first = everything.index(asked)
            for job in everything[first:] + everything[:first]:
                self.jobs[job] = self.pool.submit(self._compiled, *job)
        return self.jobs[asked].result()

    def all(self) -> list[Compiled]:
        return [self(source, architecture) for source in source_names() for architecture in ARCHITECTURES]

    def _compiled(self, source: str, architecture: int) -> Compiled:
        names = [(kernel.name, kernel.expression) for kernel in kernels_of(source, architecture)]
        parts = (self.version, compile_options(), self.shared, source_text(source), names)
        digest = hashlib.sha256(repr(parts).encode()).hexdigest()
        key = f"nvrtc/{source}-sm_{architecture}"
        kept = self.cache.get(key, None) if self.cache else None
        if kept and kept["digest"] == digest:
            result = kept["result"]
            kernels = {name: Resources(**each) for name, each in result.pop("kernels").items()}
            return Compiled(**result, kernels=kernels)
        compiled = compile_file(source, architecture)
        if self.cache:
            self.cache.set(key, {"digest": digest, "result": dataclasses.asdict(compiled)})
        return compiled


@pytest.fixture(scope="session")
def compiled(nvrtc, request):
    compilations = Compilations(nvrtc, getattr(request.config, "cache", None))
    yield compilations
    compilations.pool.shutdown(cancel_futures=True)
