"""The training loop: it learns, repeats, stops, goes on, and says what went wrong."""

import dataclasses
import itertools
import types

import numpy as np
import pytest

import cnn.training.loop
from cnn.backends import get_ops
from cnn.training.batches import AugmentSettings, epoch_order
from cnn.training.checkpoint import load_checkpoint, save_checkpoint
from cnn.training.inference import loss_and_accuracy, predict_probabilities
from cnn.training.loop import Trainer, TrainerSettings
from cnn.training.losses import CrossEntropy
from cnn.training.optimizers import SgdSettings
from cnn.training.progress import Progress
from foundation.errors import UserError
from training.conftest import ADAM, CLASSES, LAYERS, SGD
from training.states import without_times

PLATEAU = {"name": "plateau", "factor": 0.5, "patience": 1}
ONE_CYCLE = {"name": "one_cycle", "warmup": 0.3, "start": 0.04, "end": 1e-4}
TIMES = ("seconds", "images_per_second")


def fit(trainer: Trainer, pack, on_epoch=lambda: None) -> Trainer:
    with Progress() as progress:
        trainer.fit(pack.splits["train"], pack.splits["validation"], progress, on_epoch)
    return trainer


def assert_same_weights(first: Trainer, second: Trainer):
    one, other = first.model.state(), second.model.state()
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        np.testing.assert_array_equal(tensor, other[name], err_msg=name)


def validation_accuracy(trainer, pack):
    split = pack.splits["validation"]
    probabilities = predict_probabilities(trainer.model, split.images, trainer.batches, 32)
    return loss_and_accuracy(probabilities, split.host_labels)[1]


# --- learning -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_a_network_learns(make_trainer, pack, optimizer):
    trainer = fit(make_trainer(optimizer=optimizer, epochs=12), pack)
    first, last = trainer.history[0], trainer.history[-1]
    assert last["train_loss"] < 0.5 * first["train_loss"]
    assert last["val_loss"] < first["val_loss"]
    assert trainer.best.value > 0.85  # chance: 0.33


def test_a_network_learns_with_balanced_weights_smoothing_and_unit_pixels(make_trainer, pack):
    settings = {"class_weights": "balanced", "label_smoothing": 0.1, "pixels": "unit"}
    assert fit(make_trainer(optimizer=ADAM, epochs=12, **settings), pack).best.value > 0.8


def test_history_has_a_row_an_epoch(make_trainer, pack):
    trainer = fit(make_trainer(), pack)
    assert [row["epoch"] for row in trainer.history] == [1, 2, 3, 4]
    assert trainer.step == 4 * 6  # 90 images in batches of 16: the last one is smaller, and counts
    for row in trainer.history:
        assert set(row) == {
            *("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"),
            *("l2_penalty", *TIMES),
        }
        assert 0 <= row["val_accuracy"] <= 1
        assert row["images_per_second"] > 90 / row["seconds"]  # the seconds hold the validation too
        assert row["l2_penalty"] > 0


def test_the_history_tells_the_truth(make_trainer, pack):
    """Without dropout, norm and steps worth mentioning, the running loss is the loss of the weights at hand."""
    layers = ["flatten", {"dense": "classes"}]
    optimizer = SgdSettings(learning_rate=1e-12)
    trainer = fit(make_trainer(layers=layers, optimizer=optimizer, epochs=1, augment={"flip": False}), pack)
    for split, kind in (("train", "train"), ("validation", "val")):
        part = pack.splits[split]
        probabilities = predict_probabilities(trainer.model, part.images, trainer.batches, 7)
        loss, accuracy = loss_and_accuracy(probabilities, part.host_labels)
        assert trainer.history[0][f"{kind}_loss"] == pytest.approx(loss, rel=1e-5)
        assert trainer.history[0][f"{kind}_accuracy"] == pytest.approx(accuracy)


# --- repeating ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_the_same_seed_repeats_the_run(make_trainer, pack, optimizer):
    augment = {"flip": True, "shift": 0.2}
    first, second = (fit(make_trainer(name, optimizer, augment=augment), pack) for name in ("a", "b"))
    assert without_times(first.history) == without_times(second.history)
    assert_same_weights(first, second)


def test_another_seed_is_another_run(make_trainer, pack):
    first, second = (fit(make_trainer(f"run{seed}", seed=seed, epochs=1), pack) for seed in (0, 1))
    assert without_times(first.history) != without_times(second.history)


def test_each_epoch_visits_every_image_once_in_an_order_of_its_own():
    orders = [epoch_order(200, seed, epoch) for seed in (0, 1, 2**63 + 5) for epoch in (1, 2, 3)]
    for order in orders:
        assert order.dtype == np.int64
        assert sorted(order) == list(range(200))
    for one, other in itertools.combinations(orders, 2):
        assert (one == other).mean() < 0.1
    np.testing.assert_array_equal(epoch_order(200, 1, 2), epoch_order(200, 1, 2))


# --- going on -----------------------------------------------------------------------------------------------------


class Stop(Exception):
    """What a person does to a run."""


def interrupt(trainer, pack, after):
    def stop():
        if trainer.epoch == after:
            raise Stop

    with pytest.raises(Stop):
        fit(trainer, pack, stop)


RECIPE = {
    "optimizer": SGD,
    "schedule": ONE_CYCLE | {"base_momentum": 0.5},
    "augment": {"flip": True, "crop": 0.6, "brightness": 0.2, "contrast": 0.3, "mixup": 0.3, "cutmix": 1.0},
    "ema": 0.9,
    "lookahead": 4,
    "label_smoothing": 0.1,
    "class_weights": "balanced",
    "clip_norm": 1.0,
}
SHORT = {"augment": {"flip": True, "shift": 0.2}}


@pytest.mark.parametrize(
    "settings",
    [
        SHORT | {"optimizer": SGD, "schedule": PLATEAU},
        SHORT | {"optimizer": ADAM, "schedule": PLATEAU},
        SHORT | {"optimizer": ADAM, "schedule": ONE_CYCLE},
        RECIPE,
        RECIPE | {"optimizer": ADAM, "precision": "bfloat16"},
    ],
    ids=["sgd_plateau", "adam_plateau", "adam_one_cycle", "every_part", "every_part_bfloat16"],
)
@pytest.mark.parametrize("after", [1, 3])
def test_a_resumed_run_ends_exactly_as_an_uninterrupted_one(make_trainer, pack, settings, after):
    settings = settings | {"epochs": 5}
    whole = fit(make_trainer("whole", **settings), pack)
    interrupt(make_trainer("broken", **settings), pack, after)
    resumed = make_trainer("broken", **settings)
    resumed.resume()
    assert (resumed.epoch, len(resumed.history)) == (after, after)
    fit(resumed, pack)
    assert without_times(resumed.history) == without_times(whole.history)
    assert_same_weights(resumed, whole)
    assert resumed.best == whole.best
    last, other = (load_checkpoint(run.folder / "checkpoint.last.safetensors")[0] for run in (whole, resumed))
    for name, tensor in last.items():
        np.testing.assert_array_equal(tensor, other[name], err_msg=name)


def test_a_run_on_the_engine_goes_on_with_another_number_of_threads(make_trainer, pack, engine):
    block = {"residual": {"layers": [{"conv2d": 4}], "drop_path": 0.5}}
    settings = {"optimizer": ADAM, "schedule": ONE_CYCLE, "epochs": 3, "augment": {"flip": True, "rotate": 20}}
    settings["layers"] = [*LAYERS[:3], block, *LAYERS[3:]]
    whole = fit(make_trainer("whole", backend=engine, **settings), pack)
    interrupt(make_trainer("broken", backend=engine, **settings), pack, after=1)
    resumed = make_trainer("broken", backend=get_ops("cpu", 2), **settings)
    resumed.resume()
    fit(resumed, pack)
    assert without_times(resumed.history) == without_times(whole.history)
    assert_same_weights(resumed, whole)


def test_a_finished_run_resumes_to_its_best_weights_and_no_further_epoch(make_trainer, pack):
    whole = fit(make_trainer(), pack)
    again = make_trainer()
    again.resume()
    fit(again, pack)
    assert again.epoch == 4
    assert_same_weights(again, whole)


def test_resuming_is_refused_without_a_checkpoint(make_trainer):
    with pytest.raises(UserError, match=r"checkpoint\.last\.safetensors is missing"):
        make_trainer("nothing").resume()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"seed": 1}, "was made with another seed"),
        ({"metadata": {"pack_hash": "x"}}, "was made with another pack_hash"),
        ({"optimizer": ADAM}, "optimizer"),
        ({"layers": [*LAYERS[:-1], {"dense": 5}, {"dense": "classes"}]}, "tensor dense_2"),
        ({"layers": [{"conv2d": {"filters": 6, "bias": False}}, *LAYERS[1:]]}, "has shape"),
    ],
    ids=["seed", "pack", "optimizer", "more layers", "other widths"],
)
def test_resuming_with_something_else_is_refused(make_trainer, pack, changed, says):
    fit(make_trainer(epochs=1), pack)
    with pytest.raises(UserError, match=says) as caught:
        make_trainer(**changed).resume()
    assert "\n" not in str(caught.value)


def test_a_run_from_before_an_option_of_augmentation_resumes_with_the_option_off(make_trainer, pack):
    old = {"flip": True, "shift": 0.1}
    fit(make_trainer(epochs=1, metadata={"augment": old}), pack)
    now = dataclasses.asdict(AugmentSettings(**old))
    make_trainer(metadata={"augment": now}).resume()
    for changed in ({"rotate": 10.0}, {"erase_area": [0.1, 0.2]}, {"shift": 0.2}):
        with pytest.raises(UserError, match="made with another augment"):
            make_trainer(metadata={"augment": now | changed}).resume()


@pytest.mark.parametrize("schedule", [{}, PLATEAU], ids=["constant", "plateau"])
def test_a_schedule_without_an_end_goes_on_for_more_epochs(make_trainer, pack, schedule):
    def trainer(folder, epochs):
        settings = dataclasses.asdict(TrainerSettings(epochs=epochs, batch_size=16))
        return make_trainer(folder, schedule=schedule, epochs=epochs, metadata={"trainer": settings})

    whole = fit(trainer("whole", 5), pack)
    fit(trainer("short", 2), pack)
    longer = trainer("short", 5)
    longer.resume()
    fit(longer, pack)
    assert without_times(longer.history) == without_times(whole.history)
    assert_same_weights(longer, whole)


def test_a_cycle_has_its_length(make_trainer, pack):
    settings = dataclasses.asdict(TrainerSettings(epochs=2, batch_size=16))
    fit(make_trainer(schedule=ONE_CYCLE, epochs=2, metadata={"trainer": settings}), pack)
    with pytest.raises(UserError, match=r"made with another trainer\.epochs \(2, not 5\)"):
        make_trainer(schedule=ONE_CYCLE, epochs=5, metadata={"trainer": settings | {"epochs": 5}}).resume()


def test_resuming_from_the_best_weights_alone_is_refused_in_one_line(make_trainer, pack):
    """model.best.safetensors is ours too, but holds neither moments nor progress."""
    trainer = fit(make_trainer(epochs=1), pack)
    (trainer.folder / "model.best.safetensors").replace(trainer.folder / "checkpoint.last.safetensors")
    with pytest.raises(UserError, match=r"checkpoint\.last\.safetensors"):
        make_trainer().resume()


def test_a_checkpoint_with_a_tensor_too_many_is_refused_in_one_line(make_trainer, pack):
    path = fit(make_trainer(epochs=1), pack).folder / "checkpoint.last.safetensors"
    tensors, metadata = load_checkpoint(path)
    for name in ("ema/dense_1.weight", "weight", "model/more", "optimizer/velocity/more"):
        save_checkpoint(path, tensors | {name: np.zeros(3, np.float32)}, metadata)
        with pytest.raises(UserError, match=r"more|ema/dense_1\.weight|weight|optimizer") as caught:
            make_trainer().resume()
        assert "\n" not in str(caught.value)


# --- stopping -----------------------------------------------------------------------------------------------------


def script_accuracies(monkeypatch, values):
    """Let the loop see `values` as validation accuracies, whatever the network does."""
    told = iter(values)
    monkeypatch.setattr(cnn.training.loop, "loss_and_accuracy", lambda *_: (1.0, next(told)))


def test_early_stopping_waits_for_its_patience_and_restores_the_best_epoch(make_trainer, pack, monkeypatch):
    script_accuracies(monkeypatch, [0.4, 0.7, 0.6, 0.7, 0.5, 0.9])
    states = []
    trainer = make_trainer(epochs=6, early_stopping=3)
    fit(trainer, pack, lambda: states.append(trainer.model.state()))
    assert trainer.epoch == 5  # 3 epochs after the second; an equal value is no better one
    assert (trainer.best.value, trainer.best.epoch) == (0.7, 2)
    for name, tensor in trainer.model.state().items():
        np.testing.assert_array_equal(tensor, states[1][name])
    assert any((states[1][name] != states[4][name]).any() for name in states[1])


def test_the_best_epoch_is_restored_without_early_stopping_too(make_trainer, pack, monkeypatch):
    script_accuracies(monkeypatch, [0.4, 0.9, 0.6])
    states = []
    trainer = make_trainer(epochs=3)
    fit(trainer, pack, lambda: states.append(trainer.model.state()))
    for name, tensor in trainer.model.state().items():
        np.testing.assert_array_equal(tensor, states[1][name])
    assert load_checkpoint(trainer.folder / "model.best.safetensors")[1]["epoch"] == 2


def test_without_a_folder_the_best_weights_are_kept_in_memory(make_trainer, pack, monkeypatch, tmp_path):
    script_accuracies(monkeypatch, [0.4, 0.9, 0.6])
    states, files = [], sorted(tmp_path.rglob("*"))
    trainer = make_trainer(folder=None, epochs=3)
    fit(trainer, pack, lambda: states.append(trainer.model.state()))
    for name, tensor in trainer.model.state().items():
        np.testing.assert_array_equal(tensor, states[1][name])
    assert sorted(tmp_path.rglob("*")) == files


@pytest.mark.parametrize("folder", [None, "run"])
def test_without_a_validation_split_the_last_epoch_is_the_best(make_trainer, pack, folder):
    scored, states = make_trainer("scored", epochs=3), []
    fit(scored, pack, lambda: states.append(scored.model.state()))
    trainer = make_trainer(folder, epochs=3, early_stopping=1)
    with Progress() as progress:
        trainer.fit(pack.splits["train"], None, progress)
    assert (trainer.epoch, trainer.best.epoch) == (3, 3)
    assert not any(key.startswith("val_") for row in trainer.history for key in row)
    for name, tensor in trainer.model.state().items():
        np.testing.assert_array_equal(tensor, states[2][name])


def test_patience_goes_on_counting_after_a_resume(make_trainer, pack, monkeypatch):
    script_accuracies(monkeypatch, [0.8, 0.4, 0.4, 0.4, 0.4])
    interrupt(make_trainer(epochs=6, early_stopping=3), pack, after=3)
    resumed = make_trainer(epochs=6, early_stopping=3)
    resumed.resume()
    assert fit(resumed, pack).epoch == 4


def test_the_score_that_is_kept_is_that_of_the_weights_that_are_kept(make_trainer, pack):
    trainer = fit(make_trainer(optimizer=ADAM, epochs=5), pack)
    assert validation_accuracy(trainer, pack) == trainer.best.value
    assert trainer.best.value == max(row["val_accuracy"] for row in trainer.history)


def test_no_epoch_begins_after_the_minutes_are_over(make_trainer, pack, monkeypatch):
    clock = itertools.count(step=1e-3)
    ahead = [0.0]
    stopwatch = types.SimpleNamespace(perf_counter=lambda: next(clock) + ahead[0])
    monkeypatch.setattr(cnn.training.loop, "time", stopwatch)

    def minute_passes():
        ahead[0] += 60

    trainer = make_trainer(epochs=9, max_minutes=2.5)
    assert fit(trainer, pack, minute_passes).epoch == 3


def test_no_minutes_at_all_are_refused_in_a_line_that_names_them():
    for minutes in (0.0, -1.0):
        with pytest.raises(UserError, match=r"trainer\.max_minutes"):
            TrainerSettings(max_minutes=minutes)


# --- what goes wrong ----------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_the_run_in_one_line(make_trainer, pack, ops):
    trainer = make_trainer()
    trainer.loss = CrossEntropy(ops, np.full(3, np.nan, np.float32))
    with pytest.raises(UserError, match=r"the loss is nan in epoch 1: try a lower optimizer\.learning_rate"):
        fit(trainer, pack)
    assert not trainer.folder.exists() or not list(trainer.folder.iterdir())


@pytest.mark.parametrize("batch_size", [16, 90], ids=["within an epoch", "in its last step"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy tells of the overflow, as it should
def test_a_diverging_run_ends_in_one_line(make_trainer, pack, batch_size):
    """With one batch an epoch the training loss is still finite when the weights no longer are."""
    optimizer = SgdSettings(learning_rate=1e38)
    trainer = make_trainer(optimizer=optimizer, batch_size=batch_size)
    with pytest.raises(UserError, match=r"loss is (nan|inf).*optimizer\.learning_rate"):
        fit(trainer, pack)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"epochs": 0}, r"trainer\.epochs must be at least 1, not 0"),
        ({"batch_size": 0}, r"trainer\.batch_size must be at least 1, not 0"),
        ({"early_stopping": 0}, r"trainer\.early_stopping"),
        ({"monitor": "test_accuracy"}, r"trainer\.monitor is 'test_accuracy', but epochs are selected on val_accuracy"),
    ],
)
def test_settings_without_sense_are_refused(settings, says):
    with pytest.raises(UserError, match=says):
        TrainerSettings(**settings)


def test_an_empty_validation_split_is_refused_in_one_line(make_trainer, pack):
    validation = pack.splits["validation"]
    empty = dataclasses.replace(
        validation, images=validation.images[:0], labels=validation.labels[:0], host_labels=validation.host_labels[:0]
    )
    with pytest.raises(UserError, match="validation"), Progress() as progress:
        make_trainer().fit(pack.splits["train"], empty, progress)


def test_probabilities_of_a_split_do_not_depend_on_the_batch_size(make_trainer, pack):
    trainer, images = make_trainer(), pack.splits["test"].images
    whole = predict_probabilities(trainer.model, images, trainer.batches, 100)
    assert whole.shape == (30, len(CLASSES))
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole.sum(axis=1), 1, rtol=1e-6)
    advanced = []
    parts = predict_probabilities(trainer.model, images, trainer.batches, 7, advanced.append)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-7)
    assert advanced == [7, 7, 7, 7, 2]


def test_loss_of_certain_and_wrong_probabilities_is_finite():
    loss, accuracy = loss_and_accuracy(np.array([[0, 1], [0.25, 0.75]], np.float32), np.array([0, 1]))
    assert loss == pytest.approx((-np.log(np.finfo(np.float32).tiny) - np.log(0.75)) / 2)
    assert accuracy == 0.5
