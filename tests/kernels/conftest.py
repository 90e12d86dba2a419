"""Every kernel file compiled for every architecture, side by side on all cores."""

import dataclasses
import os
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from cnn.kernels import FOLDER, compile_options, kernels_of, source_names, source_text
from cnn.kernels.nvrtc import ARCHITECTURES, Compiled, NvrtcMissingError, Resources, compile_file, nvrtc_version
from cuda_emulator.build_cache import kept


@pytest.fixture(scope="session")
def nvrtc() -> tuple[int, int]:
    """NVRTC's version; tests that use this are skipped where there is none."""
    try:
        return nvrtc_version()
    except NvrtcMissingError as error:
        pytest.skip(str(error))


def options_anywhere() -> list[str]:
    """The compiler's options but for the folder of the headers, which differs between copies of the project."""
    return [option for option in compile_options() if str(FOLDER) not in option]


class Compilations:
    """Compiles what is asked for and, unless pytest's own processes share the cores, all other files meanwhile.

    As it takes minutes, results are kept beside the emulator's.
    """

    def __init__(self, version: tuple[int, int]) -> None:
        self.version = version
        self.pool = ThreadPoolExecutor(os.cpu_count())
        self.jobs: dict[tuple[str, int], Future] = {}
        # What every file's result depends on: the headers, and the code that reads the compiler's log.
        self.shared = [path.read_bytes() for path in [*sorted(FOLDER.glob("*.cuh")), FOLDER / "nvrtc.py"]]

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
        parts = (repr((self.version, options_anywhere(), names)), source_text(source), *self.shared)
        found = kept(
            f"{source}-sm_{architecture}", parts, lambda: dataclasses.asdict(compile_file(source, architecture))
        )
        kernels = {name: Resources(**each) for name, each in found.pop("kernels").items()}
        return Compiled(**{**found, "warnings": tuple(found["warnings"])}, kernels=kernels)


@pytest.fixture(scope="session")
def compiled(nvrtc):
    compilations = Compilations(nvrtc)
    yield compilations
    compilations.pool.shutdown(cancel_futures=True)
