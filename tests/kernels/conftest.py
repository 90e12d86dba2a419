"""Every kernel file compiled for every architecture, side by side on all cores."""

import dataclasses
import hashlib
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from cnn.kernels import FOLDER, compile_options, kernels_of, source_names, source_text
from cnn.kernels.nvrtc import ARCHITECTURES, Compiled, NvrtcMissingError, Resources, compile_file, nvrtc_version
from cuda_emulator.build_cache import cache_folder
from foundation.files import write_json


@pytest.fixture(scope="session")
def nvrtc() -> tuple[int, int]:
    """NVRTC's version; tests that use this are skipped where there is none."""
    try:
        return nvrtc_version()
    except NvrtcMissingError as error:
        pytest.skip(str(error))


class Compilations:
    """Compiles what is asked for and, unless pytest's own processes share the cores, all other files meanwhile.

    As it takes minutes, results are kept beside the emulator's, by a digest of all that goes into them.
    """

    def __init__(self, version: tuple[int, int]) -> None:
        self.version, self.folder = version, cache_folder() / "nvrtc"
        self.pool = ThreadPoolExecutor(os.cpu_count())
        self.jobs: dict[tuple[str, int], Future] = {}
        # What every file's result depends on: the headers, and the code that reads the compiler's log.
        shared = b"".join(path.read_bytes() for path in [*sorted(FOLDER.glob("*.cuh")), FOLDER / "nvrtc.py"])
        self.shared = hashlib.sha256(shared).hexdigest()

    def __call__(self, source: str, architecture: int) -> Compiled:
        """The result. Raises CompileError."""
        asked = (source, architecture)
        alone = "PYTEST_XDIST_WORKER" not in os.environ
        everything = [(each, sm) for each in source_names() for sm in ARCHITECTURES] if alone else []
        for job in [asked, *everything]:
            if job not in self.jobs:
                self.jobs[job] = self.pool.submit(self._compiled, *job)
        return self.jobs[asked].result()

    def all(self) -> list[Compiled]:
        return [self(source, architecture) for source in source_names() for architecture in ARCHITECTURES]

    def _compiled(self, source: str, architecture: int) -> Compiled:
        names = [(kernel.name, kernel.expression) for kernel in kernels_of(source, architecture)]
        # Options name the folder of the headers, whose content is in `shared`.
        options = [option for option in compile_options() if str(FOLDER) not in option]
        parts = (self.version, options, self.shared, source_text(source), names)
        digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
        path = self.folder / f"{source}-sm_{architecture}-{digest}.json"
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            kernels = {name: Resources(**each) for name, each in kept.pop("kernels").items()}
            return Compiled(**{**kept, "warnings": tuple(kept["warnings"])}, kernels=kernels)
        compiled = compile_file(source, architecture)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(path, dataclasses.asdict(compiled))
        return compiled


@pytest.fixture(scope="session")
def compiled(nvrtc):
    compilations = Compilations(nvrtc)
    yield compilations
    compilations.pool.shutdown(cancel_futures=True)
