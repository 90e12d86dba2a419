"""Which tests look at which kernel file."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from backends.cases import CALLS
from backends.running import run
from cnn.backends.cupy_ops import CupyOps
from cuda_emulator import Emulator

# Tests that are no calls of the case list, by words in their names, for each `.cu` file.
NAMED_TESTS: dict[str, tuple[str, ...]] = {
    "convolution.cu": ("test_convolution", "through_convolution", "test_every_variant"),
    "convolution_direct.cu": ("test_convolution", "through_convolution"),
    "dense.cu": ("test_every_variant", "array_modules_own_product", "through_dense"),
    "pooling.cu": ("maximum", "equal_taps", "average"),
    "normalization.cu": ("batch_norm", "through_dense"),
    "elementwise.cu": ("activations",),
    "dropout.cu": ("test_dropout", "through_dense"),
    "losses.cu": ("softmax", "cross_entropy", "loss", "equal_maxima"),
    "optimizers.cu": ("updates", "adam"),
    "batches.cu": ("gather_batch",),
}


class _Unlaunched(Emulator):
    """Takes launches and runs none."""

    def RawModule(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(get_function=lambda expression: lambda grid, block, arguments: None)


def sources_of_calls() -> dict[str, set[str]]:
    """The `.cu` files whose kernels a call of the case list launches, by the call's id."""
    ops = CupyOps(_Unlaunched())
    launched: set[str] = set()
    ops.launch.observe = lambda kernel, arguments: launched.add(kernel.source)
    found = {}
    for call in CALLS:
        launched.clear()
        run(ops, call, call.arguments("float32"))
        found[call.id] = set(launched)
    return found
