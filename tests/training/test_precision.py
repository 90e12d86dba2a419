"""The option `trainer.precision`: its meaning on each backend, and that runs in bfloat16 repeat and go on exactly."""

import warnings
from dataclasses import asdict

import numpy as np
import pytest

from cnn import Classifier
from cnn.models.precision import PRECISIONS, ops_of_precision, resolve_precision, slowness, storage_of
from cnn.training.loop import TrainerSettings
from data_tools.sources.face_drawing import draw_face
from data_tools.sources.toy_faces import COLLECTIONS
from foundation.errors import UserError
from models.test_shipped_models import load
from training.conftest import ADAM, SGD
from training.test_loop import ONE_CYCLE, assert_same_weights, fit, interrupt, without_times

BACKENDS = ("ops", "engine")


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.getfixturevalue(request.param)


# --- what it means --------------------------------------------------------------------------------------------------


class Device:
    """A backend as far as the option looks at it."""

    def __init__(self, name, capability):
        self.name, self.capability, self.tf32 = name, capability, False

    def with_tf32(self):
        other = Device(self.name, self.capability)
        other.tf32 = True
        return other


CPU, OLD_GPU, GPU = Device("cpu", 0), Device("cupy", 75), Device("cupy", 80)


def test_auto_is_bfloat16_on_a_gpu_with_tensor_cores_for_it():
    found = [resolve_precision("auto", device, "precision") for device in (CPU, OLD_GPU, GPU, Device("cupy", 120))]
    assert found == ["float32", "float32", "bfloat16", "bfloat16"]
    for precision in ("float32", "bfloat16"):
        assert {resolve_precision(precision, device, "precision") for device in (CPU, OLD_GPU, GPU)} == {precision}


def test_tf32_is_refused_where_no_tensor_cores_compute_it_and_inference_is_then_in_float32():
    assert resolve_precision("tf32", GPU, "precision") == "tf32"
    assert ops_of_precision("tf32", GPU).tf32
    for device in (CPU, OLD_GPU):
        with pytest.raises(UserError, match=r"^trainer\.precision=tf32 needs a GPU .*: choose float32 or auto$"):
            resolve_precision("tf32", device, "trainer.precision")
        assert ops_of_precision("tf32", device) is device
    for precision in ("float32", "bfloat16"):
        assert ops_of_precision(precision, GPU) is GPU
    assert not GPU.tf32


def test_backends_of_a_cpu_have_no_tf32(backend):
    assert (backend.capability, backend.tf32) == (0, False)
    with pytest.raises(ValueError, match=f"backend {backend.name} computes in float32"):
        backend.with_tf32()


def test_a_line_says_where_bfloat16_is_slow():
    assert "emulated on a CPU" in slowness("bfloat16", CPU)
    assert "no tensor cores" in slowness("bfloat16", OLD_GPU)
    assert slowness("bfloat16", GPU) is None
    assert {slowness(precision, CPU) for precision in ("float32", "tf32")} == {None}
    assert {storage_of(precision) for precision in ("float32", "tf32")} == {"float32"}


@pytest.mark.parametrize("precision", ["half", "", "float64", "BFLOAT16"])
def test_another_precision_is_refused_by_name(precision):
    with pytest.raises(
        UserError, match=rf"^trainer\.precision is '{precision}'; choose one of: {', '.join(PRECISIONS)}$"
    ):
        TrainerSettings(precision=precision)


# --- repeating and going on -------------------------------------------------------------------------------------------


def rounded(x):
    """x in bfloat16, as float32, by integer arithmetic."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_a_run_in_bfloat16_repeats_bit_for_bit(make_trainer, pack, backend, optimizer):
    options = {"optimizer": optimizer, "augment": {"flip": True, "shift": 0.2}, "backend": backend, "epochs": 3}
    first, second = (fit(make_trainer(name, precision="bfloat16", **options), pack) for name in ("a", "b"))
    assert without_times(first.history) == without_times(second.history)
    assert_same_weights(first, second)
    full = fit(make_trainer("c", **options), pack)
    losses = [[row["train_loss"] for row in trainer.history] for trainer in (first, full)]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(*losses, rtol=0.1)


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_a_resumed_run_in_bfloat16_ends_exactly_as_an_uninterrupted_one(make_trainer, pack, backend, optimizer):
    options = {"optimizer": optimizer, "schedule": ONE_CYCLE, "backend": backend, "precision": "bfloat16"}
    whole = fit(make_trainer("whole", **options), pack)
    interrupt(make_trainer("broken", **options), pack, after=2)
    resumed = make_trainer("broken", **options)
    resumed.resume()
    fit(resumed, pack)
    assert without_times(resumed.history) == without_times(whole.history)
    assert_same_weights(resumed, whole)


def test_the_rounded_weights_follow_the_parameters(make_trainer, pack, backend):
    trainer = make_trainer(optimizer=ADAM, epochs=2, precision="bfloat16", backend=backend)
    model, seen = trainer.model, []

    def look():
        seen.append(np.array(model.values.flat))
        np.testing.assert_array_equal(model.rounded.flat, rounded(model.values.flat))

    look()
    fit(trainer, pack, look)  # after each epoch
    look()  # the weights of the best epoch
    again = make_trainer(optimizer=ADAM, epochs=2, precision="bfloat16", backend=backend)
    again.resume()
    np.testing.assert_array_equal(again.model.rounded.flat, rounded(seen[2]))
    assert len(seen) == 4
    assert (seen[0] != seen[1]).any()
    assert (rounded(seen[1]) != seen[1]).any()  # the parameters themselves are not rounded
    assert make_trainer("float32", backend=backend).model.rounded is None


def test_a_run_is_not_resumed_in_another_precision(make_trainer, pack):
    def trainer(precision):
        return make_trainer(
            precision=precision, epochs=2, metadata={"trainer": asdict(TrainerSettings(precision=precision))}
        )

    interrupt(trainer("bfloat16"), pack, after=1)
    with pytest.raises(UserError, match=r"made with another trainer\.precision \(bfloat16, not float32\): a run is"):
        trainer("float32").resume()
    trainer("bfloat16").resume()


# --- accuracy -------------------------------------------------------------------------------------------------------


def toy_faces(names, count, side):
    """Toy faces of these classes, (count, side, side) uint8, and their labels."""
    rng, labels = np.random.default_rng(5), np.arange(count) % len(names)
    style = COLLECTIONS["toy_studio"].style
    drawn = [draw_face(rng, names[label], style).convert("L").resize((side, side)) for label in labels]
    return np.stack([np.asarray(image) for image in drawn]), labels


def test_lenet_learns_toy_faces_in_bfloat16_as_in_float32():
    """Three epochs; docs/benchmarks/precision.md has the figures of the whole data set."""
    X, y = toy_faces(("happy", "sad"), 1300, 24)
    network, found = load("lenet", widths=[8, 16], dense_widths=[32, 16]), {}
    for precision in ("float32", "bfloat16"):
        classifier = Classifier(
            network, epochs=3, batch_size=16, learning_rate=4e-3, seed=1, precision=precision, backend="numpy"
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "precision=bfloat16 is emulated")
            classifier.fit(X[:400], y[:400])
        found[precision] = classifier.score(X[400:], y[400:]), [row["train_loss"] for row in classifier.history_]
    (accuracy, losses), (rounded_accuracy, rounded_losses) = found.values()
    assert accuracy > 0.85
    assert abs(rounded_accuracy - accuracy) <= 0.025  # the test has 900 images, and the standard error is 0.008
    assert rounded_losses != losses
    np.testing.assert_allclose(rounded_losses, losses, rtol=0.25)
