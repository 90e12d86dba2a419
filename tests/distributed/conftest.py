"""The kernels on the emulator, for what draws by its place in a batch."""

import pytest

from backends.emulated import emulated_ops
from cuda_emulator import unavailable


@pytest.fixture(scope="session")
def emulator_ops():
    if reason := unavailable():
        pytest.skip(f"the CUDA emulator cannot run here: {reason}")
    return emulated_ops("fast")
