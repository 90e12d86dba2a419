"""Every operation of the contract, on every backend, over the one list of cases."""

import functools
import inspect
from dataclasses import replace

import numpy as np
import pytest

from backends import oracles
from backends.cases import CALLS, GRADIENTS, RELU, TOLERANCES, OpCall
from backends.conftest import compiled_ops
from backends.running import assert_close, flat, outputs, run, to_backend, widened
from cnn.backends import CONVOLUTIONS, NumpyOps, Ops, get_ops
from cnn.backends.compiled_ops import CompiledOps
from cnn.backends.cupy_ops import CupyOps
from foundation.errors import UserError

FORWARD = [call for call in CALLS if hasattr(oracles, call.op)]
BACKWARD = [call for call in CALLS if not hasattr(oracles, call.op)]
THREADED = {threads: NumpyOps(threads, "im2col") for threads in (1, 2, 3)}


def over(calls):
    return pytest.mark.parametrize("call", calls, ids=lambda call: call.id)


@functools.cache
def expected_of(call: OpCall, dtype: str):
    return [np.asarray(y) for y in flat(getattr(oracles, call.op)(*widened(call.arguments(dtype)), **call.options))]


@over(FORWARD)
def test_operation_agrees_with_its_oracle(backend, call):
    actual = outputs(backend.ops, call, backend.dtype)
    expected = expected_of(call, backend.dtype)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e, TOLERANCES[backend.dtype][call.tolerance])


@over(BACKWARD)
def test_backward_agrees_with_numpy_in_float64(backend, call):
    """NumPy's float64 gradients are themselves held against finite differences."""
    actual = outputs(backend.ops, call, backend.dtype)
    reference = THREADED[1]
    expected = [reference.to_numpy(y) for y in run(reference, call, widened(call.arguments(backend.dtype)))[0]]
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e, TOLERANCES[backend.dtype][call.tolerance])


@over(CALLS)
def test_outputs_are_contiguous_of_the_right_type_and_repeat_bit_for_bit(backend, call):
    expected = expected_of(call, backend.dtype) if call in FORWARD else None
    first, second = (run(backend.ops, call, call.arguments(backend.dtype))[0] for _ in range(2))
    for i, (output, again) in enumerate(zip(first, second, strict=True)):
        assert backend.ops.to_numpy(output).tobytes() == backend.ops.to_numpy(again).tobytes()
        assert output.flags.c_contiguous
        if expected is None or expected[i].dtype.kind == "f":
            assert output.dtype == backend.dtype
        else:
            assert output.dtype.kind in "iu"


@over(CALLS)
def test_arguments_keep_their_values_unless_changed_in_place(backend, call):
    before = call.arguments(backend.dtype)
    results, after = run(backend.ops, call, call.arguments(backend.dtype))
    for position, (old, new) in enumerate(zip(before, after, strict=True)):
        if position not in call.changes:
            for o, n in zip(flat(old), flat(new), strict=True):
                np.testing.assert_array_equal(backend.ops.to_numpy(n) if isinstance(o, np.ndarray) else n, o)
    if call.op != "to_numpy" and not call.changes:  # the contract promises new arrays
        arrays = [array for array in flat(list(after)) if hasattr(array, "nbytes") and array.nbytes]
        assert not any(overlap(y, x) for y in results for x in arrays)


def overlap(a, b) -> bool:
    """Whether two contiguous arrays share bytes; a device and the host share none."""
    (space_a, begin_a), (space_b, begin_b) = location(a), location(b)
    return space_a == space_b and begin_a < begin_b + b.nbytes and begin_b < begin_a + a.nbytes


def location(array) -> tuple[str, int]:
    on_device = hasattr(array.data, "ptr")
    return ("device", array.data.ptr) if on_device else ("host", array.__array_interface__["data"][0])


@over(CALLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_do_not_depend_on_the_number_of_threads(call, dtype):
    first = [y.tobytes() for y in outputs(THREADED[1], call, dtype)]
    for threads in (2, 3):
        assert [y.tobytes() for y in outputs(THREADED[threads], call, dtype)] == first


@over(CALLS)
def test_compiled_results_do_not_depend_on_the_number_of_threads(call):
    first = [y.tobytes() for y in outputs(compiled_ops_of(1), call, "float32")]
    assert [y.tobytes() for y in outputs(compiled_ops_of(2), call, "float32")] == first


@functools.cache
def compiled_ops_of(threads: int) -> Ops:
    return compiled_ops(threads)


@over([call for call in CALLS if call.op.startswith("conv2d")])
@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_no_algorithm_depends_on_the_number_of_threads(call, convolution):
    first, second = (outputs(forced_ops(threads, convolution), call, "float32") for threads in (1, 3))
    assert [y.tobytes() for y in first] == [y.tobytes() for y in second]


@functools.cache
def forced_ops(threads: int, convolution: str) -> Ops:
    return compiled_ops(threads, convolution)


@over([call for call in CALLS if call.options == RELU and "pool" not in call.op])
def test_a_fused_relu_returns_what_relu_makes_of_the_result(backend, call):
    plain, fused = (
        run(backend.ops, replace(call, options=options), call.arguments(backend.dtype))[0] for options in ({}, RELU)
    )
    assert (backend.ops.to_numpy(plain[0]) < 0).any()
    for expected, actual in zip([backend.ops.relu(plain[0]), *plain[1:]], fused, strict=True):
        np.testing.assert_array_equal(backend.ops.to_numpy(actual), backend.ops.to_numpy(expected))


@over([call for call in CALLS if call.op == "batch_norm_backward" and call.case.endswith("_relu")])
def test_a_fused_relus_gradient_in_batch_norm_is_that_of_relu_before_it(backend, call):
    dy, *rest, y = (to_backend(backend.ops, argument) for argument in call.arguments(backend.dtype))
    fused = backend.ops.batch_norm_backward(dy, *rest, y)
    for actual, expected in zip(
        fused, backend.ops.batch_norm_backward(backend.ops.relu_backward(dy, y), *rest), strict=True
    ):
        np.testing.assert_array_equal(backend.ops.to_numpy(actual), backend.ops.to_numpy(expected))


# --- the contract itself ------------------------------------------------------------------------------------------


def operations():
    return sorted(Ops.__abstractmethods__)


def test_every_public_method_of_the_contract_is_abstract():
    public = {name for name, member in vars(Ops).items() if inspect.isfunction(member) and not name.startswith("_")}
    assert public == set(operations())


@pytest.mark.parametrize("backend_class", [NumpyOps, CupyOps, CompiledOps])
@pytest.mark.parametrize("op", operations())
def test_backend_implements_the_operation_with_the_same_signature(backend_class, op):
    own, contract = getattr(backend_class, op), getattr(Ops, op)
    assert own is not contract

    def arguments(method):
        return [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]

    assert arguments(own) == arguments(contract)


def test_every_operation_is_in_the_list_of_cases():
    assert {call.op for call in CALLS} == set(operations())


def test_every_forward_operation_has_an_oracle_and_every_backward_operation_a_gradient_check():
    checked = {gradient.op for gradients in GRADIENTS.values() for gradient in gradients}
    backward = {op for op in operations() if "backward" in op}
    assert backward - checked == set()
    assert {op for op in operations() if not hasattr(oracles, op)} == backward - {"l2_penalty_backward"}


def test_names_of_cases_are_unique():
    names = [call.id for call in CALLS]
    assert sorted(set(names)) == sorted(names)


def test_unknown_backend_is_refused():
    with pytest.raises(UserError, match=r"there is no backend 'torch'; choose one of: .*numpy"):
        get_ops("torch")
    with pytest.raises(UserError, match=r"backend\.threads must be at least 1, not 0"):
        get_ops("numpy", 0)
