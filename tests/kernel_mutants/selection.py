"""Which tests look at which kernel file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from backends.cases import CALLS
from backends.running import run
from cnn.backends.cuda import CudaOps
from cuda_emulator import Emulator
from kernel_mutants.stages import TESTS

# Tests of `tests/backends` that are no calls of the case list, by words in their names, for each `.cu` file.
NAMED_TESTS: dict[str, tuple[str, ...]] = {
    "convolution.cu": ("test_convolution", "through_convolution", "test_every_variant"),
    "convolution_direct.cu": ("test_convolution", "through_convolution"),
    "convolution_tensor.cu": ("gathering_tiles", "filter_gradient"),
    "dense.cu": ("test_every_variant", "array_modules_own_product", "through_dense"),
    "pooling.cu": ("maximum", "equal_taps", "average", "mean", "argmax", "ceil"),
    "normalization.cu": (
        "batch_norm",
        "moments",
        "through_dense",
        "norm",
        "statistics",
        "sums_over",
        "variance",
    ),
    "tail.cu": ("batch_norm", "norm", "variance", "fused_pooling"),
    "group_normalization.cu": ("group_norm", "constant_channel"),
    "activations.cu": ("activation", "prelu", "activations", "slope"),
    "joins.cu": ("gate", "concat", "multiply"),
    "dropout.cu": ("test_dropout", "through_dense"),
    "losses.cu": ("softmax", "cross_entropy", "loss", "equal_maxima", "first_of_equal_maxima", "ignored", "totals"),
    "updates.cu": ("updates", "adam", "clip"),
    "batches.cu": ("gather_batch", "augmentation", "captured_step"),
    "arrays.cu": ("bfloat16", "stored"),
}

# The files of `tests/cuda_ops`.
TEST_FILES: dict[str, set[str]] = {
    "test_activations": {"activations.cu", "normalization.cu", "arrays.cu"},
    "test_arrays": {"arrays.cu"},
    "test_batches": {"batches.cu"},
    "test_direct_convolutions": {"convolution_direct.cu", "normalization.cu"},
    "test_dropout": {"dropout.cu", "arrays.cu"},
    "test_joins": {"joins.cu", "arrays.cu"},
    "test_losses": {"losses.cu"},
    "test_merges": {
        *(
            "normalization.cu",
            "tail.cu",
            "group_normalization.cu",
            "activations.cu",
            "convolution_direct.cu",
            "dense.cu",
        ),
        "losses.cu",
    },
    "test_chains": {"tail.cu", "normalization.cu"},
    "test_normalization": {"normalization.cu", "tail.cu", "group_normalization.cu", "pooling.cu", "arrays.cu"},
    "test_pooling": {"pooling.cu", "arrays.cu"},
    "test_tensor_tiles": {"convolution_tensor.cu"},
    "test_tail": {"tail.cu", "normalization.cu", "activations.cu", "dense.cu", "convolution.cu"},
    "test_updates": {"updates.cu", "arrays.cu"},
}


class _Unlaunched(Emulator):
    """Takes launches and runs none."""

    def RawModule(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(get_function=lambda expression: lambda grid, block, arguments, **_: None)


def _sources(calls: Mapping[str, Callable[[CudaOps], Any]]) -> dict[str, set[str]]:
    """The `.cu` files whose kernels each of the calls launches."""
    ops = CudaOps(_Unlaunched())
    launched: set[str] = set()
    ops.launch.observe = lambda kernel, arguments: launched.add(kernel.source)
    found = {}
    for name, call in calls.items():
        launched.clear()
        call(ops)
        found[name] = set(launched)
    return found


def sources_of_calls() -> dict[str, set[str]]:
    """The `.cu` files whose kernels a call of the case list launches, by the call's id."""
    return _sources({call.id: lambda ops, call=call: run(ops, call, "float32") for call in CALLS})


@functools.cache
def _sources_of_orders() -> dict[str, set[str]]:
    """The same for the calls of `tests/cuda_ops/test_orders_and_addresses.py`."""
    # Imported late: where the emulated kernels lie is read when these modules are loaded.
    from cuda_ops.conftest import Device  # noqa: PLC0415
    from cuda_ops.test_orders_and_addresses import CALLS as OWN_CALLS  # noqa: PLC0415
    from cuda_ops.test_orders_and_addresses import run as run_own  # noqa: PLC0415

    return _sources({name: lambda ops, name=name: run_own(Device(ops, "bfloat16"), name) for name in OWN_CALLS})


def sources_of_test(item: pytest.Item) -> set[str]:
    """The `.cu` files that a test looks at which is no call of the case list."""
    if item.path.parent != TESTS / "cuda_ops":
        return {file for file, words in NAMED_TESTS.items() if any(word in item.name for word in words)}
    if item.path.stem in TEST_FILES:
        return TEST_FILES[item.path.stem]
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return _sources_of_orders().get(parameters.get("name"), set())
