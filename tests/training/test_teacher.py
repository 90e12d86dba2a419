"""Distillation: its gradient against a formula in float64, what it does in a run, and which runs cannot teach."""

import numpy as np
import pytest
from scipy import special

from cnn.models import build_model
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.progress import Progress
from cnn.training.teacher import DistilSettings, Teacher, digest_of, teacher_model
from foundation.errors import UserError
from training.conftest import CLASSES, LAYERS


def network(ops, seed, layers=LAYERS):
    return build_model({"name": "tiny", "layers": layers}, ops, (8, 8, 1), 3, seed)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("weight", [0.25, 1.0])
@pytest.mark.parametrize("teachers", [1, 3])
def test_the_gradient_is_that_of_the_weighted_losses(ops, rng, temperature, weight, teachers):
    models = [network(ops, seed) for seed in range(teachers)]
    settings = DistilSettings(["a run"] * teachers, weight, temperature)
    teacher = Teacher(ops, models, settings, batch_size=9, classes=3)
    x = rng.normal(size=(7, 8, 8, 1)).astype(np.float32)  # a batch smaller than the others
    logits, dlogits = rng.normal(size=(2, 7, 3)).astype(np.float32)
    given = dlogits.astype(float)
    theirs = [special.softmax(model.forward(x, False)[0].astype(float) / temperature, axis=1) for model in models]
    teacher.guide(x, logits, dlogits)

    def loss(logits):
        own = special.log_softmax(logits / temperature, axis=1)
        return -weight * temperature**2 * (np.mean(theirs, axis=0) * own).sum() / len(x)

    for place in np.ndindex(7, 3):
        steps = np.zeros((7, 3))
        steps[place] = 1e-5
        slope = (loss(logits + steps) - loss(logits - steps)) / 2e-5
        assert dlogits[place] == pytest.approx((1 - weight) * given[place] + slope, abs=2e-5)


def test_a_student_of_a_good_teacher_alone_learns_without_labels(make_trainer, pack, ops):
    """All labels are the first class, and weigh nothing."""
    good = make_trainer("good", epochs=8)
    train = pack.splits["train"]
    with Progress() as progress:
        good.fit(train, pack.splits["validation"], progress)
        assert good.best.value > 0.85
        student = make_trainer("student", epochs=8, seed=1)
        student.teacher = Teacher(ops, [good.model], DistilSettings(["good"], 1.0), 16, 3)
        train.labels[...] = 0
        student.fit(train, pack.splits["validation"], progress)
    assert student.best.value > 0.8


def test_a_resumed_run_with_a_teacher_ends_exactly_as_an_uninterrupted_one(make_trainer, pack, ops):
    teacher = Teacher(ops, [network(ops, 5)], DistilSettings(["a run"], 0.5, 2.0), 16, 3)
    runs = []
    for folder, epochs in (("whole", (4,)), ("broken", (2, 4))):
        for last in epochs:
            trainer = make_trainer(folder, epochs=4, augment={"flip": True, "mixup": 0.4})
            trainer.teacher = teacher
            if last == 4 and folder == "broken":
                trainer.resume()
            with Progress() as progress:
                stop_after(trainer, last, pack, progress)
        runs.append(trainer)
    for name, tensor in runs[0].model.state().items():
        np.testing.assert_array_equal(tensor, runs[1].model.state()[name], err_msg=name)


class Stop(Exception):
    """What a person does to a run."""


def stop_after(trainer, epoch, pack, progress):
    def stop():
        if trainer.epoch == epoch < trainer.settings.epochs:
            raise Stop

    try:
        trainer.fit(pack.splits["train"], pack.splits["validation"], progress, stop)
    except Stop:
        assert trainer.epoch == epoch


@pytest.fixture
def finished(make_trainer, pack):
    """A run's folder as `cnn.train` leaves it, and the scaling of its pixels."""
    scaling = PixelScaling.fit("standardize", pack.splits["train"].images)
    metadata = {
        "model": {"name": "tiny", "layers": LAYERS},
        "image_shape": [8, 8, 1],
        "pixel_scale": scaling.scale.tolist(),
        "pixel_offset": scaling.offset.tolist(),
    }
    trainer = make_trainer("finished", epochs=2, metadata=metadata)
    with Progress() as progress:
        trainer.fit(pack.splits["train"], pack.splits["validation"], progress)
    return trainer, scaling


def test_a_teacher_is_the_best_epoch_of_its_run(finished, ops, rng):
    trainer, scaling = finished
    student = network(ops, 3, ["flatten", {"dense": "classes"}])
    teacher = teacher_model(str(trainer.folder), student, scaling, CLASSES)
    x = rng.normal(size=(5, 8, 8, 1)).astype(np.float32)
    np.testing.assert_array_equal(teacher.forward(x, False)[0], trainer.model.forward(x, False)[0])
    assert len(digest_of(str(trainer.folder))) == 64


def test_runs_that_cannot_teach_are_refused_in_a_line(finished, ops, tmp_path):
    trainer, scaling = finished
    run, student = str(trainer.folder), network(ops, 3)
    with pytest.raises(UserError, match=r"its classes is \['left', 'right', 'middle'\], and this run has \['a', 'b'\]"):
        teacher_model(run, student, scaling, ["a", "b"])
    wide = build_model({"name": "tiny", "layers": LAYERS}, ops, (9, 8, 1), 3, 1)
    with pytest.raises(UserError, match=r"its image_shape is \[8, 8, 1\], and this run has \[9, 8, 1\]"):
        teacher_model(run, wide, scaling, CLASSES)
    with pytest.raises(UserError, match="its pixels are scaled otherwise"):
        teacher_model(run, student, PixelScaling(2 * scaling.scale, scaling.offset), CLASSES)
    for act in (lambda: teacher_model(str(tmp_path), student, scaling, CLASSES), lambda: digest_of(str(tmp_path))):
        with pytest.raises(UserError, match=r"model\.best\.safetensors is missing") as caught:
            act()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"weight": 0.0}, {"weight": 1.5}, {"temperature": 0.0}, {"temperature": np.inf}])
def test_settings_without_sense_are_refused(settings):
    (name,) = settings
    with pytest.raises(UserError, match=f"^distil.{name} "):
        DistilSettings(**settings)
