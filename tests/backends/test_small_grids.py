"""Kernels with a grid-stride loop cover their elements with any grid."""

import pytest

from backends.cases import CALLS
from backends.emulated import emulated_ops
from backends.running import outputs
from cnn.kernels.families import launch_rules, pooling
from cuda_emulator import unavailable

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=f"the CUDA emulator cannot run here: {unavailable()}")

# More elements than a block has threads.
LARGE = [
    call
    for call in CALLS
    if any(
        word in call.case for word in ("many", "batch_17", "batch_19", "batch_300", "wide", "of_300", "thirty_three")
    )
]


@pytest.mark.parametrize("call", LARGE, ids=lambda call: call.id)
def test_one_block_computes_the_same_bits_as_many(call, monkeypatch):
    """A large batch on a GPU has more elements than the largest grid has threads."""
    expected = [y.tobytes() for y in outputs(emulated_ops("fast"), call, "float32")]
    for rules in (launch_rules, pooling):
        monkeypatch.setattr(rules, "MOST_BLOCKS", 1)
    assert [y.tobytes() for y in outputs(emulated_ops("fast"), call, "float32")] == expected
