"""Products of bfloat16 arrays on the GPU backend: every case of the list, with operands rounded to bfloat16."""

import dataclasses

import numpy as np
import pytest

from backends.cases import CALLS, Call
from backends.cases.call import Given
from backends.emulated import emulated_ops, fits_checked_mode
from backends.running import assert_close, expected, run
from cnn.backends import get_ops, gpu_missing
from cnn.backends.cuda import CudaOps
from cnn.backends.reference.arrays import round_to_bfloat16
from cuda_emulator import unavailable

OPERATIONS = ("conv2d", "conv2d_backward_input", "conv2d_backward_filter", "dense", "dense_backward_input")
OPERATIONS += ("dense_backward_filter",)


def rounded(call: Call) -> Call:
    """The call with its two operands, the first arguments, rounded to bfloat16."""

    def build(_):
        first, second, *others = call.arguments.args
        return Given((round_to_bfloat16(first), round_to_bfloat16(second), *others), call.arguments.options)

    return dataclasses.replace(call, build=build)


PRODUCTS = [rounded(call) for call in CALLS if call.op in OPERATIONS and not call.case.endswith("_constant")]


def ops_of(name: str) -> CudaOps:
    if name == "cupy":
        if reason := gpu_missing():
            pytest.skip(reason)
        return get_ops("cupy")
    if reason := unavailable():
        pytest.skip(f"the CUDA emulator cannot run here: {reason}")
    return emulated_ops(name.removeprefix("emulator-"))


def check(ops: CudaOps, call: Call, moved: int | None = None) -> None:
    """Run the call on arrays of bfloat16 and compare; operand number `moved` begins where no vector fits."""

    def put(position, values):
        if position > 1:
            return None
        words = ops.stored(ops.array(values), "bfloat16")
        return aside(ops, words) if position == moved else words

    outcome = run(ops, call, "float32", put)
    product, *moments = [np.array(ops.to_numpy(array)) for array in outcome.results]
    wanted, *wanted_moments = expected(call)
    of_parameters = call.op.endswith("filter")
    assert outcome.results[0].dtype == ("float32" if of_parameters else "uint16")
    epilogue = call.arguments.options.get("epilogue")
    if of_parameters:
        assert_close(product, wanted, 5e-6)
    elif epilogue is None or epilogue.activation is None or epilogue.activation.name == "relu":
        scale = np.abs(wanted).max(initial=0)
        np.testing.assert_array_less(np.abs(product - wanted), 2.0**-8 * np.abs(wanted) + 5e-6 * scale + 1e-30)
    else:
        assert_close(product, wanted, 2.0**-7)  # rounded before the activation and after it
    for got, right in zip(moments, wanted_moments, strict=True):
        assert_close(got, right, 2.0**-7)


def aside(ops: CudaOps, words):
    """A copy that begins one element behind an aligned address."""
    space = ops.empty((words.size + 9,), words.dtype)
    begin = 1 + -(space.data.ptr // 2) % 8
    part = space[begin : begin + words.size]
    part[...] = words.reshape(-1)
    return part.reshape(words.shape)


def cases():
    """Every product in the fast mode, and on a GPU; in the checked mode the small ones that tensor cores compute."""
    for call in PRODUCTS:
        yield pytest.param("emulator-fast", call, id=f"emulator-fast-{call.id}")
        if "eights" in call.case and fits_checked_mode(call):
            yield pytest.param("emulator-checked", call, id=f"emulator-checked-{call.id}")
        yield pytest.param("cupy", call, id=f"cupy-{call.id}", marks=pytest.mark.gpu)


@pytest.mark.parametrize(("backend", "call"), list(cases()))
def test_product(backend, call):
    check(ops_of(backend), call)


@pytest.mark.parametrize("moved", [0, 1])
@pytest.mark.parametrize(
    "call", [c for c in PRODUCTS if "eights_24" in c.case or "eights_long" in c.case], ids=lambda call: call.id
)
def test_operands_may_begin_anywhere(call, moved):
    check(ops_of("emulator-checked"), call, moved)


def test_filters_of_float32_are_rounded(rng):
    """Master weights, where nobody keeps a copy in bfloat16."""
    ops = ops_of("emulator-fast")
    x, w = (ops.array(rng.normal(size=size).astype(np.float32)) for size in ((5, 24), (24, 16)))
    words = ops.stored(x, "bfloat16")
    given, copied = ops.dense(words, w, None), ops.dense(words, ops.stored(w, "bfloat16"), None)
    assert ops.to_numpy(given).tobytes() == ops.to_numpy(copied).tobytes()


@pytest.mark.parametrize(
    "call",
    [c for c in PRODUCTS if c.case.startswith(("fours", "channels_12_to_68", "eights_"))],
    ids=lambda call: call.id,
)
def test_tf32_rounds_the_operands_of_float32_products(call, monkeypatch):
    """To 11 bits: farther from the exact product than float32, much nearer than bfloat16."""
    ops = ops_of("emulator-fast")
    monkeypatch.setattr(ops, "tf32", True)
    original = next(each for each in CALLS if each.id == call.id)
    launched = []
    monkeypatch.setattr(ops.launch, "observe", lambda kernel, _: launched.append(kernel.name))
    product = np.array(ops.to_numpy(run(ops, original, "float32").results[0]))
    wanted = expected(original)[0]
    epilogue = original.arguments.options.get("epilogue")
    if not any("tf32" in name for name in launched):
        assert "groups" in call.case or "dilation" in call.case  # those that tensor cores cannot compute
        assert_close(product, wanted, 5e-6)
    elif epilogue is None:
        error = np.linalg.norm(product - wanted) / np.linalg.norm(wanted)
        assert 2e-5 < error < 5e-4


def test_without_tf32_no_float32_product_goes_to_tensor_cores(monkeypatch):
    ops = ops_of("emulator-fast")
    launched = []
    monkeypatch.setattr(ops.launch, "observe", lambda kernel, _: launched.append(kernel.name))
    for call in PRODUCTS:
        if call.case == "eights_8_to_8":
            run(ops, call, "float32")
    assert launched
    assert not any(name.startswith("tensor") for name in launched)


def test_a_device_without_such_tensor_cores_computes_in_float32(rng, monkeypatch):
    ops = ops_of("emulator-fast")
    monkeypatch.setitem(ops.__dict__, "limits", dataclasses.replace(ops.limits, capability=75))
    launched = []
    monkeypatch.setattr(ops.launch, "observe", lambda kernel, _: launched.append(kernel.name))
    call = next(call for call in PRODUCTS if call.id == "conv2d-eights_8_to_8")
    check(ops, call)
    assert any(name.startswith("conv_forward") for name in launched)
    assert not any(name.startswith("tensor") for name in launched)
