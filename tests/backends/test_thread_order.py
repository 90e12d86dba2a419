"""What a kernel computes may not depend on the order in which its threads and blocks run."""

import pytest

from backends.cases import CALLS
from backends.emulated import emulated_ops
from backends.running import outputs
from cuda_emulator import unavailable

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=f"the CUDA emulator cannot run here: {unavailable()}")


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.id)
def test_kernels_compute_the_same_bits_in_another_thread_order(call):
    forward = [y.tobytes() for y in outputs(emulated_ops("fast"), call, "float32")]
    assert [y.tobytes() for y in outputs(emulated_ops("fast", "shuffled"), call, "float32")] == forward
