"""An array may begin anywhere: a part of another one need not lie where vectors of four floats may be read."""

import numpy as np
import pytest

from backends.cases import CALLS, Call
from backends.cases.call import leaves
from backends.emulated import emulated_ops, fits_checked_mode
from backends.running import assert_close, outputs, run, tolerance
from cuda_emulator import unavailable

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=f"the CUDA emulator cannot run here: {unavailable()}")

# Cases whose sizes let vectors be read, small enough for the checked mode: it sees every address.
CASES = ("8_filters", "eights", "fours", "4_channels", "8_channels", "channels_8", "of_four")


def calls_with_vectors() -> list[Call]:
    def fits(call: Call) -> bool:
        return call.case.startswith("image") or any(case in call.case for case in CASES)

    return [call for call in CALLS if fits(call) and not call.on_host and fits_checked_mode(call)]


def moved(ops, values):
    """The values on the device, at an address one element behind an aligned one."""
    room = ops.array(np.zeros(4 * (1 + values.size // 4) + 4, values.dtype))  # its end is aligned, hence its beginning
    part = room[1 : 1 + values.size]
    part[...] = values.reshape(-1)
    return part.reshape(values.shape)


@pytest.mark.parametrize("call", calls_with_vectors(), ids=lambda call: call.id)
def test_results_do_not_depend_on_an_arguments_address(call: Call):
    """Each argument in turn: a kernel must ask where every one of them lies."""
    ops = emulated_ops("checked")
    wanted = outputs(ops, call, "float32")
    for position in range(len(list(leaves(call.arguments)))):
        outcome = run(
            ops, call, "float32", lambda at, values, position=position: moved(ops, values) if at == position else None
        )
        for actual, right in zip(outcome.results, wanted, strict=True):
            assert_close(np.array(ops.to_numpy(actual)), right, tolerance(call, "float32"))
