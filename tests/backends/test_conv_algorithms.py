"""Every algorithm of the engine's convolutions, wherever it supports the shape."""

import functools

import numpy as np
import pytest

from backends.cases import CALLS, Call
from backends.conftest import cpu_ops
from backends.running import assert_close, expected, outputs, tolerance
from cnn.backends import CONVOLUTIONS, Activation

pytest.importorskip("numba", reason="Numba (the extra `fast`) is not installed")

from cnn.backends.cpu.conv_problem import ConvProblem


@functools.cache
def engine(threads: int, convolution: str):
    return cpu_ops(threads, convolution)


def problem_of(call: Call) -> ConvProblem | None:
    """The convolution that an algorithm is chosen for; None where the gradient is none."""
    arguments = call.arguments
    first, second, *_ = arguments.args
    window, groups = arguments.args[-2:]
    if call.op == "conv2d":
        filters = getattr(second, "values", second)
        return ConvProblem(len(first), first.shape[3], filters.shape[3], window, groups)
    if call.op == "conv2d_backward_filter":
        return ConvProblem(len(second), second.shape[3], first.shape[3], window, groups)
    back = window.transposed()
    return back and ConvProblem(len(first), first.shape[3], second.shape[2] * groups, back, groups)


def supported():
    for call in CALLS:
        if not call.op.startswith("conv2d"):
            continue
        epilogue = call.arguments.options.get("epilogue")
        if epilogue and epilogue.activation not in (None, Activation("relu")):
            continue  # an activation that no algorithm knows
        problem = problem_of(call)
        for name in CONVOLUTIONS:
            if problem and engine(1, name).algorithms[name].supports(problem):
                yield pytest.param(call, problem, name, id=f"{name}-{call.id}")


@pytest.mark.parametrize(("call", "problem", "name"), list(supported()))
def test_algorithm_computes_what_the_others_do_with_any_number_of_threads(call: Call, problem, name):
    ops = engine(1, name)
    results = outputs(ops, call, "float32")
    assert name in {selected for (_, shape), selected in ops.selector.cache.items() if shape == problem}
    for actual, right in zip(results, expected(call), strict=True):
        assert_close(actual, right, tolerance(call, "float32"))
    again = outputs(engine(3, name), call, "float32")
    assert all(np.array_equal(one, other) for one, other in zip(results, again, strict=True))
