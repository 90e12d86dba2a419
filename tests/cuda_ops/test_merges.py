"""Blocks merge their parts in the launch that computes them, however many there are and in which order they arrive.

Which block is the last changes no bit; the counters at which blocks meet are zeros afterwards, so that a launch can be
replayed; and every sum and moment is that of all rows, whatever the number of parts.
"""

import numpy as np
import pytest

from cnn.backends.cuda import CudaOps
from cnn.backends.window import Window
from cnn.kernels.families import channel_rules
from cnn.kernels.families.gemm_rules import choose
from cuda_ops.conftest import emulated

# One block merges up to 32 chunks: one group, groups with a lone last member, three levels; empty chunks at the end.
CHUNKS = [2, 32, 33, 65, 1024, 1025]
ROWS, EPS = 1025, 1e-3


def in_chunks(monkeypatch, chunks: int) -> None:
    """Sums over more than a thousand rows are cut into this many chunks."""
    monkeypatch.setattr(channel_rules, "pass_chunks", lambda *_, **__: chunks)


def put(ops: CudaOps, *arrays):
    return [ops.array(values.astype(np.float32)) for values in arrays]


def ones(ops: CudaOps, x):
    return ops.array(np.ones(x.shape[1], np.float32))


def column_sums(ops: CudaOps, dy, x):
    return [ops.bias_backward(*put(ops, dy))], [dy.sum(axis=0)]


def moments(ops: CudaOps, dy, x):
    return [ops.moments(*put(ops, x))], [np.stack([x.mean(axis=0), x.var(axis=0)])]


def norm_gradients(ops: CudaOps, dy, x):
    mean, variance = (values.astype(np.float32).astype(np.float64) for values in (x.mean(axis=0), x.var(axis=0)))
    dy_x, (statistics,) = put(ops, dy, x), put(ops, np.stack([mean, variance]))
    _, *found = ops.normalize_backward(*dy_x, ones(ops, x), statistics, EPS, batch=False)
    return found, [(dy * (x - mean) / np.sqrt(variance + EPS)).sum(axis=0), dy.sum(axis=0)]


def group_norm_gradients(ops: CudaOps, dy, x):
    gamma, dy_x = ones(ops, x), put(ops, dy, x)
    _, statistics = ops.group_norm(dy_x[1], gamma, gamma, 1, EPS)
    _, *found = ops.group_norm_backward(*dy_x, gamma, statistics, 1, EPS)
    normalized = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + EPS)
    return found, [(dy * normalized).sum(axis=0), dy.sum(axis=0)]


def prelu_gradient(ops: CudaOps, dy, x):
    x = x - x.mean()
    _, dslope = ops.prelu_backward(*put(ops, dy, x), ones(ops, x))
    return [dslope], [np.where(x < 0, dy * x, 0).sum(axis=0)]


SUMS = [column_sums, moments, norm_gradients, group_norm_gradients, prelu_gradient]


def given(c: int):
    """dy and x."""
    rng = np.random.default_rng(c)
    return [rng.normal(mean, 2, (ROWS, c)).astype(np.float32).astype(np.float64) for mean in (3, 50)]


@pytest.mark.parametrize("compute", SUMS)
@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("c", [5, 8, 260])
def test_sums_over_chunks_of_rows(compute, chunks, c, monkeypatch):
    if c == 260 and chunks not in (33, 65):  # three tiles of channels: every block has counters of its own
        pytest.skip("the tiles of channels do not depend on the number of chunks")
    ops = emulated("fast", "shuffled")
    in_chunks(monkeypatch, chunks)
    found, expected = compute(ops, *given(c))
    for array, values in zip(found, expected, strict=True):
        np.testing.assert_allclose(ops.to_numpy(array), values, 2e-6, atol=3e-6 * np.abs(values).max())


@pytest.mark.parametrize("compute", SUMS)
@pytest.mark.parametrize("chunks", [3, 33])
def test_accesses_of_blocks_that_merge_are_ordered(compute, chunks, monkeypatch):
    """The checked mode reports what one block reads of another without a fence and an atomic operation between."""
    in_chunks(monkeypatch, chunks)
    compute(emulated("checked", "shuffled"), *given(3))


def depthwise(ops: CudaOps, dy, x):
    images, gradients = (values.reshape(1, ROWS, 1, -1) for values in put(ops, x, dy))
    return [ops.conv2d_backward_filter(gradients, images, Window.over((ROWS, 1), (3, 1)), x.shape[1])]


def one_channel(ops: CudaOps, dy, x):
    window = Window.over((ROWS, 9), 3)
    arrays = put(ops, np.resize(dy, (9, *window.output_hw, 5)), np.resize(x, (9, ROWS, 9, 1)))
    return [ops.conv2d_backward_filter(*arrays, window, 1)]


def split_product(ops: CudaOps, dy, x):
    return [ops.dense_backward_filter(*put(ops, dy, x))]


def loss(ops: CudaOps, dy, x):
    totals, labels = ops.zeros((3,), np.float64), ops.array(np.arange(ROWS) % x.shape[1])
    return [*ops.cross_entropy(*put(ops, x), labels, ones(ops, x), totals=totals), totals]


def sums(ops: CudaOps, dy, x):
    return [array for compute in SUMS for array in compute(ops, dy, x)[0]]


def cut_into(splits: int):
    """A plan by which every float32 product is cut into this many parts."""
    return lambda *product: (choose(*product)[0], splits)


@pytest.mark.parametrize("compute", [sums, depthwise, one_channel, split_product, loss])
def test_which_block_is_the_last_changes_no_bit(compute, monkeypatch):
    in_chunks(monkeypatch, 70)
    results = []
    for order in ("forward", "reverse", "shuffled", "shuffled"):  # every launch is shuffled in its own way
        ops = emulated("fast", order)
        monkeypatch.setattr(ops, "plan", cut_into(13))
        results.append([ops.to_numpy(array).tobytes() for array in compute(ops, *given(6))])
        assert all(not ops.to_numpy(counters).any() for of_stream in ops._counters.values() for counters in of_stream)
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("splits", [2, 8, 9, 64, 65])
def test_parts_of_a_product_add_up(splits, monkeypatch):
    """Whole numbers, whose sums are exact: one level, two, three; parts that have no step of the sum are zeros."""
    rng = np.random.default_rng(splits)
    x, dy = (rng.integers(-4, 5, (70, n)).astype(np.float32) for n in (9, 5))
    ops = emulated("fast", "shuffled")
    monkeypatch.setattr(ops, "plan", cut_into(splits))
    found = ops.dense_backward_filter(ops.array(dy), ops.array(x))
    np.testing.assert_array_equal(ops.to_numpy(found), x.T @ dy)


def test_streams_have_counters_of_their_own():
    """Launches of two streams may run at once; more counters are new ones, and the old ones stay where they are."""
    ops = emulated("fast")
    few = ops.counters(10)
    with ops.xp.cuda.Stream(non_blocking=True):
        others = ops.counters(10)
    assert others.data.ptr != few.data.ptr
    assert ops.counters(10).data.ptr == few.data.ptr
    many = ops.counters(100_000)
    assert many.size == 100_000
    assert many.data.ptr != few.data.ptr
    assert ops.counters(10).data.ptr == many.data.ptr
    assert any(kept[:10].data.ptr == few.data.ptr for of_stream in ops._counters.values() for kept in of_stream)
