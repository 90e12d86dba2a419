"""An array may begin anywhere: a part of another one need not lie where vectors of four floats may be read."""

import numpy as np
import pytest

from backends.cases import CALLS, TOLERANCES, OpCall
from backends.emulated import emulated_ops, fits_checked_mode
from backends.running import assert_close, flat, outputs, to_backend
from cuda_emulator import unavailable

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=f"the CUDA emulator cannot run here: {unavailable()}")

# Cases whose sizes let vectors be read, small enough for the checked mode: it sees every address.
CASES = ("image", "8_filters", "eights", "fours", "4_channels", "8_channels", "channels_8")


def arguments_to_move():
    for call in CALLS:
        if not call.on_host and any(case in call.case for case in CASES) and fits_checked_mode(call):
            for position, argument in enumerate(call.arguments("float32")):
                if isinstance(argument, np.ndarray) or (isinstance(argument, list) and argument):
                    yield pytest.param(call, position, id=f"{call.id}-{position}")


def moved(ops, values):
    """The values on the device, at an address one element behind an aligned one."""
    if isinstance(values, list):
        return [moved(ops, value) for value in values]
    room = ops.array(np.zeros(4 * (1 + values.size // 4) + 4, values.dtype))  # its end is aligned, hence its beginning
    part = room[1 : 1 + values.size]
    part[...] = values.reshape(-1)
    return part.reshape(values.shape)


@pytest.mark.parametrize(("call", "position"), list(arguments_to_move()))
def test_results_do_not_depend_on_an_arguments_address(call: OpCall, position):
    ops = emulated_ops("checked")
    placed = [to_backend(ops, argument) for argument in call.arguments("float32")]
    placed[position] = moved(ops, call.arguments("float32")[position])
    returned = getattr(ops, call.op)(*placed, **call.options)
    results = flat(returned) + [array for change in call.changes for array in flat(placed[change])]
    for a, e in zip(results, outputs(ops, call, "float32"), strict=True):
        assert_close(ops.to_numpy(a), e, TOLERANCES["float32"][call.tolerance])
