"""Every tile, vector width and split of the matrix products, each forced in turn."""

import numpy as np
import pytest

from backends.cases import ConvCase, DenseCase, conv_calls, dense_calls
from backends.emulated import new_emulated_ops
from backends.running import assert_close, expected, outputs, tolerance
from cnn.backends import gpu_missing
from cnn.backends.cuda import CudaOps
from cnn.kernels import STRUCTS, fast_divmod
from cnn.kernels.families.gemm_rules import variants
from cuda_emulator import unavailable

# Channels in fours, so that vectors fit; more than one tile each way, and tiles that stick out over every edge.
CONVS = [
    ConvCase("same", hw=(11, 9), channels=8, filters=12),
    ConvCase("two_tiles_of_filters", n=2, hw=(5, 7), channels=4, filters=132),
    ConvCase("two_tiles_of_channels", n=2, hw=(5, 7), channels=132, filters=8),
    ConvCase("stride_2_dilation_2", hw=(11, 13), channels=8, filters=68, stride=2, dilation=2),
    ConvCase("groups_2", n=5, channels=16, filters=24, groups=2, padding=(0, 2, 1, 0)),
    ConvCase("stride_3_even_kernel", hw=(10, 9), channels=4, filters=8, kernel=4, stride=3),
    ConvCase("1x1", n=4, hw=(12, 11), channels=36, filters=20, kernel=1),
    ConvCase("no_bias", n=1, channels=4, filters=4, kernel=(1, 5), bias=False),
]
DENSES = [DenseCase("several_tiles", 133, 140, 260), DenseCase("batch_1", 1, 72, 8), DenseCase("long", 5, 1000, 12)]
WHERE = pytest.mark.parametrize("where", ["emulator", pytest.param("cupy", marks=pytest.mark.gpu)])
CALLS = [*conv_calls(CONVS), *dense_calls(DENSES)]


def ops_with(where: str, **options) -> CudaOps:
    if where == "emulator":
        if reason := unavailable():
            pytest.skip(f"the CUDA emulator cannot run here: {reason}")
        return new_emulated_ops("fast", **options)
    if reason := gpu_missing():
        pytest.skip(reason)
    import cupy  # noqa: PLC0415

    return CudaOps(cupy, **options)


@WHERE
@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize("variant", list(variants()), ids=lambda variant: variant.suffix)
def test_every_variant_computes_the_product(variant, splits, where):
    taken = []

    def forced(rows, columns, k, batches, vector, device):
        assert vector
        taken.append(variant.suffix)
        return variant, splits

    ops = ops_with(where, plan=forced)
    for call in CALLS:
        for actual, right in zip(outputs(ops, call, "float32"), expected(call), strict=True):
            assert_close(actual, right, tolerance(call, "float32"))
    assert len(taken) == len(CALLS)


@WHERE
def test_dense_layers_by_the_array_modules_own_product(where):
    ops = ops_with(where, cublas=True)
    for call in dense_calls([*DENSES, DenseCase("no_bias", 5, 7, 3, bias=False)]):
        for actual, right in zip(outputs(ops, call, "float32"), expected(call), strict=True):
            assert_close(actual, right, tolerance(call, "float32"))


def test_multiplying_and_shifting_divides(rng):
    """The arithmetic of fast_divmod.cuh, in 64 bits."""
    divisors = np.concatenate([np.arange(1, 300), rng.integers(300, 2**31, 300), [2**31 - 1, 2**30, 2**30 + 1]])
    numbers = np.concatenate([np.arange(400), rng.integers(0, 2**31, 400), [2**31 - 1, 2**31 - 2]]).astype(np.uint64)
    for d in divisors.tolist():
        divisor, multiplier, shift = fast_divmod(d)
        near = np.array([d - 1, d, 2 * d - 1, 2 * d], np.uint64)
        n = np.concatenate([numbers, near[near < 2**31]])
        high = (n * np.uint64(multiplier)) >> np.uint64(32)
        total = high + n
        assert total.max() < 2**32  # no carry is lost in 32 bits
        np.testing.assert_array_equal(total >> np.uint64(shift), n // np.uint64(d))
        assert np.array([(divisor, multiplier, shift)], STRUCTS["FastDivmod"]).tolist() == [(d, multiplier, shift)]
