"""Progressive resizing: the first epochs train on smaller images."""

from dataclasses import replace

import numpy as np
import pytest

from cnn.models import build_model
from cnn.training.image_sizes import resized_split, size_of_epoch
from cnn.training.loop import TrainerSettings
from cnn.training.optimizers import SgdSettings
from cnn.training.pack import Split
from cnn.training.progress import Progress
from cnn.training.teacher import DistilSettings, Teacher
from foundation.errors import UserError
from training.states import without_times

LAYERS = [
    {"conv2d": {"filters": 6, "stride": 2}},
    {"residual": {"layers": [{"conv2d": {"filters": 6}}, "batch_norm", "relu"]}},
    "global_avg_pool2d",
    {"dropout": 0.2},
    {"dense": "classes"},
]


@pytest.fixture
def progress():
    with Progress(False, False) as progress:
        yield progress


def of(ops, images):
    return Split("train", ops.array(images), None, np.zeros(len(images), np.int64))


def triangles(old, new):
    """(new, old): output pixel i weighs input pixel k by a triangle around its centre, as wide as two output pixels."""
    scale = old / new
    centres = (np.arange(new)[:, None] + 0.5) * scale
    found = np.maximum(1 - np.abs(np.arange(old) + 0.5 - centres) / scale, 0)
    return found / found.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("full", "hw"), [((12, 12), (4, 4)), ((9, 15), (3, 5)), ((8, 6), (5, 4)), ((7, 5), (3, 2))])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_smaller_images_are_weighted_means(ops, rng, full, hw, channels):
    images = rng.integers(0, 256, (3, *full, channels)).astype(np.uint8)
    expected = np.einsum("ih,nhwc,jw->nijc", triangles(full[0], hw[0]), images, triangles(full[1], hw[1]))
    found = ops.to_numpy(resized_split(of(ops, images), hw, ops).images)
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() < 1.01  # rounded in either direction
    floats = ops.to_numpy(resized_split(of(ops, (images / 255).astype(np.float32)), hw, ops).images)
    np.testing.assert_allclose(floats, expected / 255, atol=1e-5)


def test_the_size_of_each_epoch():
    sizes = [[8, 2], [12, 1]]
    assert [size_of_epoch(sizes, epoch, (24, 36)) for epoch in range(1, 6)] == [(8, 12)] * 2 + [(12, 18)] + [
        (24, 36)
    ] * 2


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_a_model_for_another_size_has_the_same_tensors(ops, rng, storage):
    config = {"name": "m", "layers": LAYERS}
    model, own = (build_model(config, ops, (side, side, 1), 3, 5, storage=storage) for side in (12, 8))
    other = model.resized(8, 8)
    x = ops.array(rng.normal(size=(4, 8, 8, 1)).astype(np.float32))
    dy = ops.array(rng.normal(size=(4, 3)).astype(np.float32))
    clock = ops.array(np.array([3, 0, 0]))
    for each in (other, own):
        _, saved = each.forward(x, True, clock)
        each.backward(saved, dy)
    assert other.gradients is model.gradients
    np.testing.assert_array_equal(ops.to_numpy(model.gradients.flat), ops.to_numpy(own.gradients.flat))
    np.testing.assert_array_equal(ops.to_numpy(model.statistics.flat), ops.to_numpy(own.statistics.flat))
    full = model.forward(ops.array(rng.normal(size=(4, 12, 12, 1)).astype(np.float32)), False)[0]
    assert full.shape == (4, 3)


def test_epochs_have_their_sizes_and_the_best_is_of_full_size(make_trainer, pack, progress):
    trainer = make_trainer(layers=LAYERS, sizes=[[4, 2], [6, 1]], epochs=6, ema=0.5)
    trainer.fit(pack.splits["train"], pack.splits["validation"], progress)
    assert [row["image_size"] for row in trainer.history] == [4, 4, 6, 8, 8, 8]
    full = trainer.history[3:]
    best = max(full, key=lambda row: row["val_accuracy"])
    assert (trainer.best.epoch, trainer.best.value) == (best["epoch"], best["val_accuracy"])


def test_early_stopping_waits_for_full_size(make_trainer, pack, progress):
    # A rate of almost 0: no epoch is better than the first of its size.
    still = SgdSettings(learning_rate=1e-30)
    trainer = make_trainer(layers=LAYERS, optimizer=still, sizes=[[4, 5]], epochs=20, early_stopping=2)
    trainer.fit(pack.splits["train"], pack.splits["validation"], progress)
    assert trainer.epoch == 8


def test_the_same_images_in_a_smaller_size_train_the_same_network(make_trainer, pack, progress, ops):
    """A run whose epochs are all but one small equals a run on small images, up to that epoch."""
    found = []
    trainer = make_trainer(layers=LAYERS, sizes=[[4, 3]], epochs=4)
    trainer.fit(pack.splits["train"], pack.splits["validation"], progress, lambda: found.append(trainer.model.state()))
    small = {name: resized_split(pack.splits[name], (4, 4), ops) for name in ("train", "validation")}
    other = make_trainer(folder=None, layers=LAYERS, epochs=4, image_shape=(4, 4, 1))
    states = []
    other.fit(small["train"], small["validation"], progress, lambda: states.append(other.model.state()))
    assert other.history[2]["val_loss"] == trainer.history[2]["val_loss"]
    for name, tensor in states[2].items():
        np.testing.assert_array_equal(found[2][name], tensor, name)


def test_a_teacher_guides_epochs_of_full_size_only(make_trainer, pack, progress, ops):
    teacher = build_model({"name": "tiny", "layers": LAYERS}, ops, pack.image_shape, 3, 9)
    weights = []
    for guide in (None, Teacher(ops, [teacher], DistilSettings(["a run"], 0.5), 16, 3)):
        trainer, found = make_trainer(None, layers=LAYERS, sizes=[[4, 2]], epochs=3), []
        trainer.teacher = guide
        trainer.fit(
            pack.splits["train"],
            pack.splits["validation"],
            progress,
            lambda trainer=trainer, found=found: found.append(trainer.model.state()),
        )
        weights.append(found)
    same = [
        all(np.array_equal(alone[name], guided[name]) for name in alone) for alone, guided in zip(*weights, strict=True)
    ]
    assert same == [True, True, False]


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_resumed_run_with_all_parts_ends_exactly_as_an_uninterrupted_one(make_trainer, pack, progress, ops, stop):
    options = {
        "layers": LAYERS,
        "sizes": [[4, 2], [6, 1]],
        "epochs": 6,
        "ema": 0.9,
        "lookahead": 2,
        "augment": {"shift": 0.1, "mixup": 0.3, "cutmix": 0.5},
    }
    teacher = build_model({"name": "tiny", "layers": LAYERS}, ops, pack.image_shape, 3, 9)

    def trainer_in(folder):
        trainer = make_trainer(folder, **options)
        trainer.teacher = Teacher(ops, [teacher], DistilSettings(["a run"], 0.3, 2.0), 16, 3)
        return trainer

    soft = np.random.default_rng(1).dirichlet(np.ones(3), len(pack.splits["train"])).astype(np.float32)
    train = replace(pack.splits["train"], targets=ops.array(soft))
    whole = trainer_in("whole")
    whole.fit(train, pack.splits["validation"], progress)
    begun = trainer_in("parts")

    class Stop(Exception):
        pass

    def stop_after():
        if begun.epoch == stop:
            raise Stop

    with pytest.raises(Stop):
        begun.fit(train, pack.splits["validation"], progress, stop_after)
    again = trainer_in("parts")
    again.resume()
    again.fit(train, pack.splits["validation"], progress)
    for name, tensor in whole.model.state().items():
        np.testing.assert_array_equal(again.model.state()[name], tensor, name)
    assert without_times(whole.history) == without_times(again.history)


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ([[24]], "pairs"),
        ([[24, 0]], "pairs"),
        ([[0, 3]], "pairs"),
        ([[36, 2], [24, 2]], "grow"),
        ([[24, 2], [24, 2]], "grow"),
        ([[24, 2], [36, 2]], "at least one must be left"),
    ],
)
def test_sizes_without_sense_are_refused(sizes, says):
    with pytest.raises(UserError, match=says):
        TrainerSettings(epochs=4, sizes=sizes)


@pytest.mark.parametrize(
    ("layers", "sizes", "says"),
    [
        (["flatten", {"dense": "classes"}], [[4, 1]], "dense_1.weight would be"),
        (LAYERS, [[8, 1]], "full size is 8 x 8"),
        (LAYERS, [[4, 1], [11, 1]], "full size is 8 x 8"),
        ([{"conv2d": {"filters": 2, "kernel": 5, "padding": "valid"}}, *LAYERS[-3:]], [[4, 1]], "layers.0.: "),
    ],
)
def test_sizes_that_the_network_cannot_have_are_refused_before_training(
    make_trainer, pack, progress, layers, sizes, says
):
    trainer = make_trainer(layers=layers, sizes=sizes)
    with pytest.raises(UserError, match=says):
        trainer.fit(pack.splits["train"], pack.splits["validation"], progress)
    assert not trainer.history
