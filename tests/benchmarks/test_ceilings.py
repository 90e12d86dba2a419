from __future__ import annotations

import numpy as np
import pytest
from idle_cupy import TICK
from stand_ins import TINY, TickingClock

from benchmarks.kernels.ceiling_kernels import (
    NAMES,
    SOURCE,
    TENSOR_NAME,
    TENSOR_SOURCE,
    CeilingKernels,
    multiply_add_flops,
    multiply_matrices_flops,
)
from benchmarks.kernels.ceilings import Ceilings, measure_ceilings
from cnn.backends import get_ops
from cnn.backends.cuda import CudaOps
from cnn.kernels.nvrtc import NvrtcMissingError, compile_text, nvrtc_version
from cuda_emulator import Emulator, unavailable


@pytest.fixture(scope="module")
def xp() -> Emulator:
    if reason := unavailable():
        pytest.skip(f"the CUDA emulator cannot run here: {reason}")
    return Emulator("checked")


def test_the_kernels_do_what_they_say(xp):
    kernels = CeilingKernels(xp)
    x, y, sink = xp.empty(1028, np.float32), xp.empty(1028, np.float32), xp.zeros(1, np.float32)
    kernels.fill(x)
    kernels.copy(x, y)
    kernels.read(x, sink)
    values = xp.asnumpy(y)
    assert np.array_equal(xp.asnumpy(x), values)
    assert len(np.unique(values)) > 1000
    assert 1 <= values.min() < values.max() < 2
    assert xp.asnumpy(sink)[0] == 0


def test_the_arithmetic_is_as_much_as_is_counted(xp):
    y, rounds = xp.empty(512, np.float32), 3
    CeilingKernels(xp).multiply_add(y, rounds)
    steps = multiply_add_flops(512, rounds) // (2 * 512 * 8)
    chains = np.arange(256)[:, None] + np.arange(8.0)
    for _ in range(steps):
        chains = chains * np.float32(0.999) + np.float32(0.001)
    assert np.allclose(xp.asnumpy(y).reshape(2, 256), chains.sum(axis=1), rtol=1e-5)


def test_the_products_are_as_many_as_are_counted(xp):
    once, thrice = xp.empty(256, np.float32), xp.empty(256, np.float32)
    CeilingKernels(xp).multiply_matrices(once, 1)
    CeilingKernels(xp).multiply_matrices(thrice, 3)
    sums = xp.asnumpy(once)
    assert np.allclose(xp.asnumpy(thrice), 3 * sums, rtol=1e-5)
    # Each of 32 numbers a lane is a sum of 16 products of numbers between 1 and 2.
    assert len(np.unique(sums)) > 200
    assert 32 * 16 < sums.min() < sums.max() < 32 * 16 * 4
    assert multiply_matrices_flops(256, 3) == 8 * 3 * 8 * (2 * 16 * 16 * 8)  # warps, rounds, chains, one product


def nvrtc():
    try:
        nvrtc_version()
    except NvrtcMissingError as error:
        pytest.skip(str(error))


def test_the_products_compile_without_spilling():
    nvrtc()
    for architecture in (80, 90):
        text = TENSOR_SOURCE.read_text()
        compiled = compile_text(text, TENSOR_SOURCE.name, {TENSOR_NAME: TENSOR_NAME}, architecture)
        assert compiled.warnings == ()
        assert not compiled.kernels[TENSOR_NAME].spills
        assert compiled.kernels[TENSOR_NAME].registers <= 128  # of which a multiprocessor holds 16 warps


def test_the_kernels_compile_without_spilling():
    nvrtc()
    for architecture in (75, 90):
        compiled = compile_text(SOURCE.read_text(), SOURCE.name, dict(zip(NAMES, NAMES, strict=True)), architecture)
        assert compiled.warnings == ()
        assert [name for name, each in compiled.kernels.items() if each.spills] == []
        assert compiled.kernels["multiply_add"].registers <= 32  # of which a multiprocessor holds 2048 threads


def test_ceilings_are_the_best_of_what_was_measured(xp):
    ops = CudaOps(xp, device="emulator")
    ceilings, figures = measure_ceilings(ops, TickingClock("emulator"), TINY)
    assert ceilings.bandwidth == pytest.approx(3 * TINY.copy_bytes / TICK)  # `add` moves three arrays in the time
    assert ceilings.arithmetic == pytest.approx(multiply_add_flops(256 * TINY.blocks, TINY.rounds) / TICK)
    products = "bfloat16 products of tensor cores, own kernel"
    assert ceilings.tensor == pytest.approx(multiply_matrices_flops(256 * TINY.blocks, TINY.rounds) / TICK)
    assert set(figures) == {"copy, own kernel", "copy, the kernel `add`", "multiply-add chains, own kernel", products}


def test_ceilings_of_the_cpu():
    ceilings, _ = measure_ceilings(get_ops("numpy", 1), TickingClock("CPU"), TINY)
    assert ceilings.bandwidth == pytest.approx(2 * TINY.copy_bytes / TICK)
    assert ceilings.arithmetic == pytest.approx(2 * TINY.matrix**3 / TICK)


def test_the_floor_is_the_longer_of_the_two():
    ceilings = Ceilings(bandwidth=10, arithmetic=100)
    assert ceilings.floor(20, 100) == 2
    assert ceilings.bound(20, 100) == "memory"
    assert ceilings.floor(20, 500) == 5
    assert ceilings.bound(20, 500) == "arithmetic"


def test_products_are_held_against_the_unit_that_computes_them():
    ceilings = Ceilings(bandwidth=10, arithmetic=100, tensor=1000)
    assert [ceilings.floor(20, 4000, unit) for unit in ("float32", "bfloat16", "tf32")] == [40, 4, 8]
    assert ceilings.bound(50, 4000, "bfloat16") == "memory"
    assert Ceilings(bandwidth=10, arithmetic=100).floor(20, 4000, "bfloat16") == 40  # not measured
