"""Every kernel file's compilation for every architecture."""

import functools
from collections.abc import Callable

import pytest

from benchmarks.kernel_resources import RECORD, recorded
from benchmarks.kernels.compiled import Record
from cnn.kernels.nvrtc import Compiled, NvrtcMissingError, compile_file, nvrtc_version


@pytest.fixture(scope="session")
def nvrtc() -> tuple[int, int]:
    """NVRTC's version; tests that use this are skipped where there is none."""
    try:
        return nvrtc_version()
    except NvrtcMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def compiled(nvrtc) -> Callable[[str, int], Compiled]:
    """The result for a kernel file and an architecture: the recorded one if it is of today's text, else compiled."""
    record = Record(RECORD)
    return functools.cache(lambda *job: recorded(record, *job) or compile_file(*job))
