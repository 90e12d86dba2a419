"""Every operation of the contract, on every backend, over the one list of calls."""

import inspect

import numpy as np
import pytest

from backends import oracles
from backends.cases import CALLS, Call
from backends.cases.gradients import GRADIENTS
from backends.running import assert_close, expected, outputs, run, tolerance
from cnn.backends import Ops, get_ops
from foundation.errors import UserError


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.id)
def test_operation(backend, call: Call):
    """One run: the values, the form of what is returned, and the arguments; then, where bits might differ, others."""
    outcome = run(backend.ops, call, backend.dtype)
    results = [np.array(backend.ops.to_numpy(array)) for array in outcome.results]
    wanted = expected(call)
    assert len(results) == len(wanted)
    for actual, right in zip(results, wanted, strict=True):
        assert_close(actual, right, tolerance(call, backend.dtype))
    for array, right in zip(outcome.results, wanted, strict=True):
        assert array.flags.c_contiguous
        if not call.any_type and not any(array is other for other in outcome.changed):
            assert_type(array, right, backend.dtype)
    for array, before in outcome.kept:
        np.testing.assert_array_equal(backend.ops.to_numpy(array), before)
    if not call.may_share:
        assert_new(outcome)
    for other in backend.same_bits:
        assert [y.tobytes() for y in outputs(other, call, backend.dtype)] == [y.tobytes() for y in results]


def assert_type(array, right: np.ndarray, dtype: str) -> None:
    """Whole numbers, or floats of the backend's type, unless the operation's are float32 always."""
    if right.dtype.kind == "f":
        assert array.dtype == ("float32" if right.dtype == "float32" else dtype)
    else:
        assert array.dtype.kind in "iu"


def assert_new(outcome) -> None:
    """Results share no memory with each other or an argument, but for those that an argument names."""
    arguments = [array for array, _ in outcome.kept if hasattr(array, "nbytes") and array.nbytes]
    for i, result in enumerate(outcome.results):
        assert not any(overlap(result, other) for other in [*arguments, *outcome.results[:i]])


def overlap(a, b) -> bool:
    """Whether two contiguous arrays share bytes; a device and the host share none."""
    (space_a, begin_a), (space_b, begin_b) = location(a), location(b)
    return space_a == space_b and begin_a < begin_b + b.nbytes and begin_b < begin_a + a.nbytes


def location(array) -> tuple[str, int]:
    on_device = hasattr(array.data, "ptr")
    return ("device", array.data.ptr) if on_device else ("host", array.__array_interface__["data"][0])


# --- the contract itself ------------------------------------------------------------------------------------------

# What no list of calls can hold: the tests are in test_arrays.py; of TF32 in test_bfloat16_products.py; of what runs
# beside the rest in tests/training/test_capture.py; of what processes share in tests/distributed.
APART = {"beside", "capture", "empty", "join", "overwrite", "share_moments", "share_sums", "with_tf32"}


def operations() -> dict[str, object]:
    return {name: member for name, member in inspect.getmembers(Ops, inspect.isfunction) if not name.startswith("_")}


def backend_classes() -> list[type]:
    from cnn.backends.cpu import CpuOps  # noqa: PLC0415
    from cnn.backends.cuda import CudaOps  # noqa: PLC0415

    return [CpuOps, CudaOps]


@pytest.mark.parametrize("op", operations())
def test_backends_have_the_operation_with_the_same_signature(op):
    def arguments(method):
        return [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]

    for backend_class in backend_classes():
        assert arguments(getattr(backend_class, op)) == arguments(getattr(Ops, op)), backend_class.__name__


def test_every_operation_is_in_the_list_of_calls():
    assert {call.op for call in CALLS} == set(operations()) - APART


def test_every_operation_has_an_oracle_or_a_gradient_check():
    backward = {op for op in operations() if "backward" in op}
    assert backward <= {gradient.op for gradient in GRADIENTS}
    assert {op for op in operations() if not hasattr(oracles, op)} - APART == backward - {"l2_penalty_backward"}


def test_names_of_calls_are_unique():
    names = [call.id for call in CALLS]
    assert sorted(set(names)) == sorted(names)


def test_unknown_backend_is_refused():
    with pytest.raises(UserError, match=r"there is no backend 'torch'; choose one of: .*numpy"):
        get_ops("torch")
    with pytest.raises(UserError, match=r"backend\.threads must be at least 1 and at most 1,024, not 0"):
        get_ops("cpu", 0)
