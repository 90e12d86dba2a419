"""Several ranks train as one: the same weights up to rounding, bit by bit the same again, and in every rank."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from cnn.assembly import TrainingOptions, new_trainer
from cnn.backends import Activation, Dropout, Normalize, Ops, RandomKey, get_ops
from cnn.distributed.ranked_ops import Part, ranked
from cnn.distributed.ranks import Ranks, distribute, ranked_backend
from cnn.distributed.reduction import GradientSum
from cnn.distributed.transports import HostTransport, NcclTransport
from cnn.distributed.world import World
from cnn.models import build_model
from cnn.training.batches import AugmentSettings
from cnn.training.loop import TrainerSettings
from cnn.training.optimizers import SgdSettings
from cnn.training.pack import Split
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.progress import Progress
from cnn.training.schedules import ScheduleSettings
from distributed.threads import Board, ThreadNccl, run_ranks
from foundation.errors import UserError
from training.conftest import blobs
from training.states import without_times

# Everything that is computed over a batch or drawn for it: norms with and without a product before them, dropout of
# elements and branches behind odd sizes, pooling in one pass with a norm.
NETWORK = [
    {"conv2d": {"filters": 5, "bias": False}},
    "batch_norm",
    "relu",
    {"max_pool2d": 2},
    {"residual": {"layers": [{"conv2d": {"filters": 5}}, "batch_norm", "gelu", {"drop_path": 0.2}], "shortcut": []}},
    {"dropout": 0.1},
    "batch_norm",
    "flatten",
    {"dense": {"units": 7, "l2": 0.01}},
    "batch_norm",
    "prelu",
    {"dropout": 0.3},
    {"dense": {"units": "classes", "l2": 0.001}},
]
AUGMENT = {"flip": True, "shift": 0.2, "rotate": 10.0, "erase": 0.3, "brightness": 0.1}
TRAIN, VALIDATION, BATCH = 83, 29, 22  # a last batch of 17 images, divided among 2, 3, 4 ranks in unequal parts


def splits(ops: Ops, train: int = TRAIN) -> tuple[Split, Split]:
    rng = np.random.default_rng(5)
    made = []
    for name, count in (("train", train), ("validation", VALIDATION)):
        images, labels = blobs(count, rng)
        made.append(Split(name, ops.array(images), ops.array(labels), labels))
    return made[0], made[1]


def train(world: World, backend: str = "cpu", sync: bool = True, train: int = TRAIN, **options):
    """The state of a trainer after 5 epochs of 4 steps, and its history."""
    base = get_ops(backend, 1) if backend == "cpu" else get_ops(backend)
    ops = base if world.communicator is None else ranked_backend(base, world, "mpi", sync)
    settings = {"epochs": 5, "batch_size": BATCH, "ema": 0.8, "lookahead": 3, "clip_norm": 1.0} | options
    augment = AugmentSettings(**(AUGMENT | settings.pop("augment", {})))
    optimizer = settings.pop("optimizer", SgdSettings(learning_rate=0.05, weight_decay=1e-3))
    layers = settings.pop("layers", NETWORK)
    parts = splits(ops, train)
    trainer = new_trainer(
        build_model({"name": "odd", "layers": layers}, ops, (8, 8, 1), 3, 0),
        train,
        PixelScaling.fit("standardize", parts[0].images),
        np.array([1, 2, 0.5], np.float32),
        TrainingOptions(TrainerSettings(**settings), optimizer, ScheduleSettings(), augment, 3),
        None,
        {},
    )
    if world.communicator is not None:
        distribute(trainer, world)
    with contextlib.redirect_stdout(io.StringIO()), Progress(bar=False, lines=False) as progress:
        trainer.fit(*parts, progress)
    state = {f"{name}/{key}": each for name, part in trainer._parts().items() for key, each in part.state().items()}
    return state, without_times(trainer.history)


def distance(one, other):
    """The norm of the difference of two states, relative to the norm."""
    flat = [np.concatenate([state[name].ravel() for name in sorted(one)]).astype(np.float64) for state in (one, other)]
    return np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[0])


def assert_same(one, other):
    assert one[1] == other[1]
    for name, tensor in one[0].items():
        np.testing.assert_array_equal(tensor, other[0][name], err_msg=name)


@pytest.fixture(scope="module")
def alone(engine):
    return train(World())


@pytest.mark.parametrize("size", [2, 3, 4])
def test_ranks_train_as_one_and_repeat_bit_by_bit(alone, size):
    first = run_ranks(size, train)
    assert distance(alone[0], first[0][0]) < 1e-5
    for row, other in zip(alone[1], first[0][1], strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    for other in first[1:]:
        assert_same(first[0], other)
    # With other delays of every message.
    assert_same(first[0], run_ranks(size, train, luck=1)[0])


@pytest.mark.parametrize(
    "options",
    [
        {"augment": {"mixup": 0.4, "cutmix": 1.0}},
        {"backend": "numpy"},
        {"train": 24},  # a last batch of two images for three ranks: one of them has none
    ],
    ids=["mixed", "reference", "fewer images than ranks"],
)
def test_ranks_train_as_one_with(options):
    if options.get("backend") != "numpy":
        pytest.importorskip("numba", reason="Numba (the extra `fast`) is not installed")
    expected, found = train(World(), **options), run_ranks(3, lambda world: train(world, **options))
    assert distance(expected[0], found[0][0]) < 1e-5
    assert_same(found[0], found[2])
    assert found[0][1][-1]["train_loss"] == pytest.approx(expected[1][-1]["train_loss"], rel=1e-4)


def test_norms_of_the_own_part_differ_and_stay_the_same_in_all_ranks(alone):
    found = run_ranks(2, lambda world: train(world, sync=False))
    assert distance(alone[0], found[0][0]) > 1e-3
    assert_same(found[0], found[1])


def test_a_batch_that_cannot_be_divided_is_refused():
    def start(world, size, sync):
        train(world, backend="numpy", sync=sync, batch_size=size)

    with pytest.raises(UserError, match=r"batch_size=2 is divided among 3 processes"):
        run_ranks(3, lambda world: start(world, 2, True))
    with pytest.raises(UserError, match=r"trainer.distributed=nccl is for GPUs, and the backend is numpy"):
        run_ranks(2, lambda world: ranked_backend(get_ops("numpy"), world, "nccl", True))
    with pytest.raises(UserError, match=r"batch_norm_\d would have single values"):
        run_ranks(3, lambda world: start(world, 5, False))


def test_weights_that_differ_between_ranks_are_noticed():
    def work(world):
        ops = ranked_backend(get_ops("numpy"), world, "mpi", True)
        model = build_model({"name": "m", "layers": NETWORK}, ops, (8, 8, 1), 3, world.rank)
        Ranks(world, ops).end_epoch(4, [model])

    with pytest.raises(UserError, match="after epoch 4 the processes do not have the same weights"):
        run_ranks(2, work)


@pytest.mark.parametrize("count", [1, 5, 8, 100])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_parts_cover_a_batch_once(count, size):
    parts = [Part.of(count, rank, size) for rank in range(size)]
    held = [image for part in parts if part.weight for image in range(part.begin, part.end)]
    assert held == list(range(count))
    assert all(part.end > part.begin for part in parts)
    assert sum(float(part.weight) for part in parts) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(7, 3), (6, 2, 3, 5), (5, 8)])
@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_dropout_draws_by_the_place_in_the_whole_batch(backend, shape, rng):
    if backend == "cpu":
        pytest.importorskip("numba", reason="Numba (the extra `fast`) is not installed")
    ops, key = get_ops(backend), RandomKey(9, 4, np.array([6, 0, 0]))
    x = rng.standard_normal(shape).astype(np.float32)
    for operation in ("dropout", "drop_path"):
        whole = getattr(ops, operation)(x, 0.4, key)
        for rank in range(3):
            made = ranked(ops, rank, 3, HostTransport(World(), ops), True)
            part = made.begin_batch(len(x))
            own = getattr(made, operation)(x[part.begin : part.end], 0.4, key)
            np.testing.assert_array_equal(own, whole[part.begin : part.end])


# --- the sum of gradients ----------------------------------------------------------------------------------------


def gradients(model, rank):
    return np.random.default_rng(rank).standard_normal(model.gradients.flat.shape).astype(np.float32)


def summed(world, transport_of, monkeypatch_bucket=None):
    """The arena after a backward pass whose blocks are done one by one; each rank has random gradients."""
    ops = get_ops("numpy")
    model = build_model({"name": "m", "layers": NETWORK}, ops, (8, 8, 1), 3, 0)
    sums = GradientSum(model, transport_of(world, ops), world.size)
    for step in range(2):  # buffers are used again
        sums.begin(np.float32((world.rank + 1) / 10))
        model.gradients.flat[...] = gradients(model, world.rank + 10 * step)
        for index in reversed(range(len(model.graph.nodes))):
            sums.done([index])
        sums.finish()
    return model, model.gradients.flat.copy()


@pytest.mark.parametrize("transport", ["mpi", "nccl"])
@pytest.mark.parametrize("bucket", [1, 64, 1 << 20], ids=lambda size: f"buckets of {size} bytes")
def test_gradients_are_summed_in_the_order_of_the_ranks(transport, bucket, monkeypatch):
    monkeypatch.setattr("cnn.distributed.reduction.BUCKET", bucket)
    size = 3
    board = Board(size)

    def transport_of(world, ops):
        if transport == "mpi":
            return HostTransport(world, ops)
        nccl = ThreadNccl(board, world.rank)
        ops.zeros = lambda shape, dtype: np.zeros(shape, dtype).view(ThreadNccl.Array)
        return NcclTransport.of_world(nccl, world)

    results = run_ranks(size, lambda world: summed(world, transport_of))
    model = results[0][0]
    expected = np.zeros(model.trained, np.float32)
    for rank in range(size):
        expected += gradients(model, rank + 10)[: model.trained] * np.float32((rank + 1) / 10)
    for _, found in results:
        np.testing.assert_array_equal(np.asarray(found)[: model.trained], expected)
        # What is not trained is nobody's sum.
    for rank, (_, found) in enumerate(results):
        np.testing.assert_array_equal(np.asarray(found)[model.trained :], gradients(model, rank + 10)[model.trained :])


@pytest.mark.parametrize("rank", [0, 2])
def test_kernels_draw_by_the_place_in_the_whole_batch(emulator_ops, rank, rng):
    """Also where a kernel draws dropout in the pass of a norm: there it would begin with the batch's first element."""
    ops, key = get_ops("numpy"), RandomKey(9, 4, np.array([6, 0, 0]))
    x, dy = (rng.standard_normal((7, 2, 2, 3)).astype(np.float32) for _ in range(2))
    norm = [np.ones(3, np.float32), np.full(3, 0.1, np.float32), np.array(ops.moments(x)), 1e-5, False]
    stages = [Normalize(*norm), Activation("relu"), Dropout(0.4, key)]
    whole, saved = ops.tail(x, stages)
    dx, _ = ops.tail_backward(dy, stages, saved)
    gpu = ranked(emulator_ops, rank, 3, HostTransport(World(), emulator_ops), True)
    part = gpu.begin_batch(len(x))
    own = slice(part.begin, part.end)
    place = RandomKey(9, 4, gpu.array(key.step))
    moved = [Normalize(*map(gpu.array, norm[:3]), *norm[3:]), Activation("relu"), Dropout(0.4, place)]
    y, kept = gpu.tail(gpu.array(x[own]), moved)
    np.testing.assert_allclose(gpu.to_numpy(y), whole[own], rtol=1e-5, atol=1e-6)
    found, _ = gpu.tail_backward(gpu.array(dy[own]), moved, kept)
    np.testing.assert_allclose(gpu.to_numpy(found), dx[own], rtol=1e-5, atol=1e-6)
    dropped = gpu.drop_path(gpu.array(x[own]), 0.4, place)
    np.testing.assert_allclose(gpu.to_numpy(dropped), ops.drop_path(x, 0.4, key)[own], rtol=1e-6)
