"""The training step: what it computes, what it takes from the host, and that it repeats."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from cnn.backends import Augmentation, Ops, RandomKey, Window, get_ops
from cnn.models import build_model
from cnn.training.averaging import Lookahead, MovingAverage
from cnn.training.batches import AugmentSettings, BatchMaker, epoch_order
from cnn.training.losses import CrossEntropy
from cnn.training.optimizers import AdamSettings, SgdSettings, build_optimizer
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.progress import Progress
from cnn.training.schedules import ScheduleSettings, build_schedule
from cnn.training.step import TrainingStep
from training.recording import Replaying, watching
from training.states import everything

IMAGE, CLASSES, IMAGES, BATCH, SEED = (7, 6, 2), 3, 19, 8, 5  # batches of 8, 8 and 3
COUNTS = [8, 8, 3]
RATES = np.array([0.05, 0.02, 0.1], np.float32)
WEIGHTS = np.array([0.5, 2.0, 1.25], np.float32)
SMOOTHING = 0.15
AUGMENT = AugmentSettings(flip=True, shift=0.2, rotate=20, zoom=0.1, erase=0.4)

PLAIN = [
    {"conv2d": {"filters": 4, "l2": 0.02}},
    "relu",
    "batch_norm",
    {"max_pool2d": 2},
    {"dropout": 0.25},
    "flatten",
    {"dense": "classes"},
]
MANY = [
    {"conv2d": {"filters": 5, "bias": False}},
    "batch_norm",
    "relu",
    {"max_pool2d": 2},
    {"residual": {"layers": [{"conv2d": {"filters": 5}}, "prelu", "batch_norm"]}},
    {"multiply": {"branches": [[], ["global_avg_pool2d", {"dense": 5}, "sigmoid"]]}},
    {"dropout": 0.2},
    {"concat": {"branches": [[{"conv2d": {"filters": 3}}, {"group_norm": 1}], [{"depthwise_conv2d": 3}, "gelu"]]}},
    "flatten",
    {"dense": {"units": 6, "l2": 0.01}},
    "silu",
    {"dense": "classes"},
]
SGD = SgdSettings(momentum=0.9, nesterov=True, weight_decay=0.1)
PLAIN_SGD = SgdSettings(momentum=0.5, nesterov=False, weight_decay=0.1, decoupled=True)
ADAM = AdamSettings(beta1=0.8, beta2=0.99, eps=1e-6, weight_decay=0.1)
ADAMW = replace(ADAM, decoupled=True)
OPTIMIZERS = [SGD, PLAIN_SGD, ADAM, ADAMW]
NAMES = ["sgd_nesterov_l2", "sgd_decoupled", "adam_l2", "adamw"]


@dataclass(frozen=True)
class Parts:
    """What may be added to a step: a momentum for each step, mixing, lookahead and an average of the weights."""

    momenta: tuple[float, ...] = (0.9, 0.6, 0.8)
    # Mixup, CutMix of a rectangle of 4 x 3 pixels, and neither: see MIXING_NUMBERS.
    mixing: tuple[tuple[float, ...], ...] = ((0.7, 0.7, 0, 0, 0, 0), (1 - 12 / 42, 1, 2, 1, 4, 3), (1, 1, 0, 0, 0, 0))
    every: int = 2
    share: float = 0.4
    decay: float = 0.3


def data():
    rng = np.random.default_rng(4)
    return rng.integers(0, 256, (IMAGES, *IMAGE), dtype=np.uint8), rng.integers(0, CLASSES, IMAGES)


def make_step(ops, layers=MANY, optimizer=SGD, clip_norm=None, augment=AUGMENT, seed=SEED, parts=None) -> TrainingStep:
    images, labels = data()
    model = build_model({"name": "net", "layers": layers}, ops, IMAGE, CLASSES, seed)
    augment = augment if parts is None else replace(augment, mixup=1.0, cutmix=1.0)
    return TrainingStep(
        model,
        CrossEntropy(ops, WEIGHTS, SMOOTHING),
        build_optimizer(optimizer, model, clip_norm),
        BatchMaker(ops, PixelScaling.fit("standardize", images), augment, seed),
        ops.array(images),
        ops.array(labels),
        BATCH,
        None if parts is None else MovingAverage(model, parts.decay),
        None if parts is None else Lookahead(model, parts.every, parts.share),
    )


def train(step: TrainingStep, *epochs: int, parts: Parts | None = None) -> list[tuple[float, float]]:
    """The mean loss and the fraction of hits of each epoch, counted from 1."""
    more = [] if parts is None else [np.array(numbers, np.float32) for numbers in (parts.momenta, parts.mixing)]
    totals = []
    for epoch in epochs:
        step.begin_epoch(epoch_order(IMAGES, SEED, epoch), RATES, len(COUNTS) * (epoch - 1), *more)
        for count in COUNTS:
            step(count)
        totals.append(step.totals())
    return totals


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)


def assert_close(found, expected, tolerance):
    """No tensor differs by more than this fraction of its norm."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        difference = np.linalg.norm(np.subtract(found[name], tensor, dtype=np.float64))
        assert difference <= tolerance * np.linalg.norm(tensor), name


# --- against single operations ------------------------------------------------------------------------------------


def by_hand(ops: Ops, step: TrainingStep, optimizer, clip_norm, epochs, parts=None):
    """What `train` should do to a step with the layers PLAIN: one reference operation after the other in float64, and
    the loss, the clipping and the updates as formulas. Returns what `everything` does, and the totals of each epoch."""
    images, labels = data()
    scaling = PixelScaling.fit("standardize", images)
    rules = Augmentation(SEED, True, 0.2, 20, 0.1, 0.4)
    conv_window, pool_window = Window.over(IMAGE[:2], 3, 1, "same"), Window.over(IMAGE[:2], 2, 2)
    (stream,) = (node.stream for node in step.model.graph.nodes if node.stream)
    t = {name: tensor.astype(float) for name, tensor in step.model.state().items()}
    running = np.stack([t["batch_norm_1.mean"], t["batch_norm_1.variance"]])
    trained = [name for name in t if name not in ("batch_norm_1.mean", "batch_norm_1.variance")]
    slots = ("velocity",) if isinstance(optimizer, SgdSettings) else ("first_moment", "second_moment")
    moments = {f"{slot}/{name}": np.zeros_like(t[name]) for slot in slots for name in trained}
    slow, average = {name: t[name].copy() for name in trained}, {name: tensor.copy() for name, tensor in t.items()}
    number, totals = 0, []
    for epoch in range(1, epochs + 1):
        order, loss, hits = epoch_order(IMAGES, SEED, epoch).tolist(), 0.0, 0
        for batch, rate in enumerate(RATES.tolist()):
            number += 1
            clock = np.array([number])
            own = order[BATCH * batch : BATCH * (batch + 1)]
            moves = ops.augmentation(clock, len(own), IMAGE[:2], rules)
            x = ops.gather_batch(images, own, *moves, scaling.scale.astype(float), scaling.offset.astype(float))
            share, blend, top, left, height, width = (1, 1, 0, 0, 0, 0) if parts is None else parts.mixing[batch]
            partners = x[::-1].copy()
            x = blend * x + (1 - blend) * partners
            inside = slice(None), slice(top, top + height), slice(left, left + width)
            x[inside] = partners[inside]
            key, gamma = RandomKey(SEED, stream, clock), t["batch_norm_1.gamma"]
            # Forward.
            active = np.maximum(ops.conv2d(x, t["conv2d_1.weight"], t["conv2d_1.bias"], conv_window, 1), 0)
            batch_moments = ops.moments(active)
            running = 0.9 * running + 0.1 * batch_moments
            normal = ops.normalize(active, gamma, t["batch_norm_1.beta"], batch_moments, 1e-5)
            pooled, argmax = ops.max_pool2d(normal, pool_window)
            flat = ops.dropout(pooled, 0.25, key).reshape(len(own), -1)
            logits = ops.dense(flat, t["dense_1.weight"], t["dense_1.bias"])
            # The loss: each row by its own softmax, for its label and for that of its partner.
            dlogits = np.zeros_like(logits)
            for row, (z, *both) in enumerate(zip(logits, labels[own], labels[own][::-1], strict=True)):
                p = np.exp(z) / np.exp(z).sum()
                hits += p.argmax() == both[0 if share > 0.5 else 1]
                for label, part in zip(both, (share, 1 - share), strict=True):
                    target = np.full(CLASSES, SMOOTHING / CLASSES) + (1 - SMOOTHING) * (np.arange(CLASSES) == label)
                    loss -= part * WEIGHTS[label] * (target @ np.log(p))
                    dlogits[row] += part * WEIGHTS[label] * (p - target) / len(own)
            # Backward.
            g = {"dense_1.weight": flat.T @ dlogits, "dense_1.bias": dlogits.sum(axis=0)}
            dpooled = ops.dropout((dlogits @ t["dense_1.weight"].T).reshape(pooled.shape), 0.25, key)
            dnormal = ops.max_pool2d_backward(dpooled, argmax, pool_window)
            dactive, g["batch_norm_1.gamma"], g["batch_norm_1.beta"] = ops.normalize_backward(
                dnormal, active, gamma, batch_moments, 1e-5, batch=True
            )
            dconv = dactive * (active > 0)
            g["conv2d_1.weight"] = ops.conv2d_backward_filter(dconv, x, conv_window, 1)
            g["conv2d_1.weight"] += 2 * 0.02 * t["conv2d_1.weight"]
            g["conv2d_1.bias"] = dconv.sum(axis=(0, 1, 2))
            # The update.
            norm = np.sqrt(sum((gradient**2).sum() for gradient in g.values()))
            for name in trained:
                gradient = g[name] * (clip_norm / norm if clip_norm is not None and norm > clip_norm else 1)
                decay = optimizer.weight_decay if name.endswith(".weight") else 0
                if optimizer.decoupled:
                    t[name] = t[name] - rate * decay * t[name]
                else:
                    gradient = gradient + decay * t[name]
                own_moments = [moments[f"{slot}/{name}"] for slot in slots]
                momentum = None if parts is None else parts.momenta[batch]
                t[name] = t[name] - rate * direction(optimizer, gradient, own_moments, number, momentum)
            t["batch_norm_1.mean"], t["batch_norm_1.variance"] = running
            if parts is None:
                continue
            if number % parts.every == 0:
                for name in trained:
                    slow[name] = t[name] = slow[name] + parts.share * (t[name] - slow[name])
            past = min(parts.decay, (1 + number) / (10 + number))
            average = {name: past * average[name] + (1 - past) * tensor for name, tensor in t.items()}
        totals.append((loss / IMAGES, hits / IMAGES))
    if parts is not None:
        moments |= {f"slow/{name}": tensor for name, tensor in slow.items()}
        moments |= {f"average/{name}": tensor for name, tensor in average.items()}
    return t | moments, totals


def direction(optimizer, gradient, moments, number, momentum):
    """What is taken off a parameter, but for the learning rate; the moments change in place. `momentum`, if given, is
    that of the step."""
    if isinstance(optimizer, SgdSettings):
        (velocity,) = moments
        inertia = optimizer.momentum if momentum is None else momentum
        velocity[...] = inertia * velocity + gradient
        return gradient + inertia * velocity if optimizer.nesterov else velocity
    first, second = moments
    inertia = optimizer.beta1 if momentum is None else momentum
    first[...] = inertia * first + (1 - inertia) * gradient
    second[...] = optimizer.beta2 * second + (1 - optimizer.beta2) * gradient**2
    unbiased = first / (1 - inertia**number), second / (1 - optimizer.beta2**number)
    return unbiased[0] / (np.sqrt(unbiased[1]) + optimizer.eps)


@pytest.mark.parametrize("parts", [None, Parts()], ids=["few parts", "all parts"])
@pytest.mark.parametrize("clip_norm", [None, 0.7])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=NAMES)
def test_a_step_is_the_loop_written_out(ops, optimizer, clip_norm, parts):
    """Two epochs whose last batch is smaller, with augmentation, class weights, smoothing, an L2 penalty, dropout."""
    step = make_step(ops, PLAIN, optimizer, clip_norm, parts=parts)
    expected, totals = by_hand(ops, step, optimizer, clip_norm, 2, parts)
    found = train(step, 1, 2, parts=parts)
    assert_close(everything(step), expected, 1e-4)
    for (loss, hits), (expected_loss, expected_hits) in zip(found, totals, strict=True):
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert hits == expected_hits


def test_the_clipped_norm_is_one_that_these_gradients_exceed(ops):
    """Else the test above would not see whether it is clipped."""
    results = []
    for clip_norm in (None, 0.7, 1e9):
        step = make_step(ops, PLAIN, SGD, clip_norm)
        train(step, 1)
        results.append(step.model.state()["dense_1.weight"])
    np.testing.assert_array_equal(results[0], results[2])
    assert np.abs(results[0] - results[1]).max() > 1e-3


# --- backends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("augment", [AugmentSettings(), AUGMENT], ids=["plain", "augmented"])
@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_the_engine_trains_as_the_reference(ops, engine, optimizer, augment):
    reference, step = (make_step(each, MANY, optimizer, 2.0, augment) for each in (ops, engine))
    expected, found = train(reference, 1, 2), train(step, 1, 2)
    assert_close(everything(step), everything(reference), 1e-4)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_steps_of_one_seed_are_the_same_bits_on_any_number_of_threads(engine):
    results = []
    for ops in (engine, engine, get_ops("cpu", 2), get_ops("cpu", 3)):
        step = make_step(ops)
        results.append((everything(step), train(step, 1, 2), everything(step)))
    for start, totals, end in results[1:]:
        assert totals == results[0][1]
        assert_equal(start, results[0][0])
        assert_equal(end, results[0][2])
    other = make_step(engine, seed=SEED + 1)
    assert train(other, 1, 2) != results[0][1]


# --- the host -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_an_epoch_is_one_transfer_and_a_step_none(engine, backend, optimizer):
    watched = watching(Ops) if backend == "numpy" else watching(type(engine), 1)
    step = make_step(watched, MANY, optimizer, clip_norm=1.0)
    for epoch in (1, 2):
        watched.transfers.clear()
        step.begin_epoch(epoch_order(IMAGES, SEED, epoch), RATES, len(COUNTS) * (epoch - 1))
        assert watched.transfers == {"copy_in": 1}
        for count in COUNTS:
            step(count)
        assert watched.transfers == {"copy_in": 1}
        step.totals()
        assert watched.transfers == {"copy_in": 1, "to_numpy": 1}


@pytest.mark.parametrize("augment", [AugmentSettings(), AUGMENT], ids=["plain", "augmented"])
@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_a_step_that_is_replayed_trains_as_one_that_runs(ops, optimizer, augment):
    """Nothing that changes from step to step is decided on the host, where a graph would freeze it."""
    expected, step = (make_step(each, MANY, optimizer, 1.0, augment) for each in (ops, Replaying()))
    assert train(step, 1, 2, 3) == train(expected, 1, 2, 3)
    assert_equal(everything(step), everything(expected))
    assert step.ops.captures == len(set(COUNTS))


def test_loading_a_state_changes_the_arrays_that_a_recorded_step_holds():
    step = make_step(Replaying(), optimizer=ADAM)
    model, arenas = step.model, (step.model.values, step.model.gradients, step.model.statistics)
    held = [arena.flat for arena in arenas]
    train(step, 1)
    weights, moments = model.state(), step.optimizer.state()
    first = train(step, 2, 3), everything(step)
    for trained, loaded in zip(everything(step).values(), (weights | moments).values(), strict=True):
        assert (trained != loaded).any()
    model.load_state(weights, "a file")
    step.optimizer.load_state(moments)
    assert_equal(everything(step), weights | moments)
    assert train(step, 2, 3) == first[0]
    assert_equal(everything(step), first[1])
    assert [id(arena.flat) for arena in arenas] == [id(array) for array in held]
    for arena in arenas:
        assert all(np.shares_memory(tensor, arena.flat) for tensor in arena.tensors.values())
    assert step.ops.captures == len(set(COUNTS))  # none anew


# --- the smaller last batch, and the rates ------------------------------------------------------------------------


class Noting(Ops):
    """Notes the indices of each batch, and the learning rate, the momentum and the clock of each update."""

    def __init__(self):
        self.batches, self.rates, self.momenta, self.steps = [], [], [], []

    def next_batch(self, *arguments):
        indices, labels = super().next_batch(*arguments)
        self.batches.append((indices.tolist(), labels.tolist()))
        return indices, labels

    def adam_update(self, *arrays, learning_rate, clock, beta1, **options):
        self.rates.append(float(learning_rate[0]))
        self.momenta.append(float(beta1[0]))
        self.steps.append(int(clock[0]))
        super().adam_update(*arrays, learning_rate=learning_rate, clock=clock, beta1=beta1, **options)


def test_an_epoch_visits_the_images_in_its_order_with_their_labels():
    step, labels = make_step(Noting()), data()[1]
    train(step, 1, 2)
    assert [len(indices) for indices, _ in step.ops.batches] == COUNTS * 2
    for epoch in (1, 2):
        own = step.ops.batches[3 * (epoch - 1) : 3 * epoch]
        assert [index for indices, _ in own for index in indices] == epoch_order(IMAGES, SEED, epoch).tolist()
        for indices, given in own:
            assert given == labels[indices].tolist()


def test_the_totals_so_far_are_those_of_the_images_so_far(ops):
    """Weights that do not move: each epoch's end tells the loss of the whole, whatever the batches."""
    whole = make_step(ops, ["flatten", {"dense": "classes"}], augment=AugmentSettings())
    images, labels = data()
    x = whole.batches.plain(images, np.arange(IMAGES))
    logits, _ = whole.model.forward(x, False)
    whole.begin_epoch(np.arange(IMAGES), np.zeros(3, np.float32), 0)
    done = 0
    for count in COUNTS:
        whole(count)
        done += count
        loss, _ = CrossEntropy(ops, WEIGHTS, SMOOTHING)(logits[:done], labels[:done])
        mean, hits = whole.totals()
        assert mean == pytest.approx(float(loss), rel=1e-5)
        assert hits == pytest.approx((logits[:done].argmax(axis=1) == labels[:done]).mean())


@pytest.mark.parametrize("decay", [0.0, 1e-6])
@pytest.mark.parametrize(
    "schedule",
    [
        {"name": "constant"},
        {"name": "cosine", "warmup": 0.3},
        {"name": "one_cycle", "warmup": 0.3, "start": 0.04, "end": 1e-4, "base_momentum": 0.7},
        {"name": "plateau", "patience": 1, "minimum": 1e-12},
    ],
    ids=lambda schedule: schedule["name"],
)
def test_rate_and_momentum_of_each_step_reach_its_update(make_trainer, pack, schedule, decay):
    noting = Noting()
    # A rate so small that no epoch is better than the first.
    optimizer = AdamSettings(learning_rate=1e-9, weight_decay=decay)
    trainer = make_trainer(backend=noting, optimizer=optimizer, schedule=schedule, epochs=4)
    with Progress(False, False) as progress:
        trainer.fit(pack.splits["train"], pack.splits["validation"], progress)
    expected = build_schedule(ScheduleSettings(**schedule), 1e-9, 24)
    rates, momenta = [], []
    for epoch, row in enumerate(trainer.history):
        rates += [expected.learning_rate(6 * epoch + number) for number in range(1, 7)]
        momenta += [expected.momentum(6 * epoch + number, 0.9) for number in range(1, 7)]
        expected.epoch_end(row["val_accuracy"])
        assert row["learning_rate"] == rates[-1]
    # With weight decay an update goes over the weights and over the rest.
    passes = 2 if decay else 1
    assert noting.steps == np.repeat(np.arange(1, 25), passes).tolist()
    np.testing.assert_allclose(noting.rates, np.repeat(rates, passes), rtol=1e-6)
    np.testing.assert_allclose(noting.momenta, np.repeat(momenta, passes), rtol=1e-6)
    assert schedule["name"] == "constant" or len(set(noting.rates)) > 1
    assert (schedule["name"] == "one_cycle") == (len(set(noting.momenta)) > 1)
