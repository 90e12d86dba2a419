"""What is refused, in one line that names it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from api.conftest import small, stripes
from cnn.layers import Conv2D, Dense, ReLU

X, Y = stripes(30)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ({"epochs": 2.5}, "epochs must be a whole number"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"batch_size": "many"}, "batch_size must be a whole number"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"seed": None}, "seed must be a whole number"),
        ({"threads": 0}, "threads must be a whole number of at least 1"),
        ({"backend": "tpu"}, "there is no backend 'tpu'"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number"),
        ({"optimizer": "lion"}, "unknown optimizer 'lion'; choose one of: adam, adamw, sgd"),
        ({"optimizer": {"learning_rate": 1.0}}, "optimizer.name is 'None'; choose sgd or adam"),
        ({"optimizer": {"name": "adam", "beta3": 1.0}}, "optimizer.beta3"),
        ({"optimizer": 3}, "optimizer must be a name, a mapping or settings, not 3"),
        ({"schedule": "triangle"}, "unknown schedule 'triangle'"),
        ({"schedule": {"name": "cosine", "warmup": "long"}}, "schedule.warmup"),
        ({"schedule": "plateau"}, "schedule='plateau' needs validation"),
        ({"early_stopping": 2}, "early_stopping needs validation"),
        ({"early_stopping": 0, "validation": 0.2}, "early_stopping must be a whole number of at least 1"),
        ({"augment": "heavy"}, "unknown augment 'heavy'; choose one of: flip, flip_shift, none, strong"),
        ({"augment": {"shift": 2.0}}, "augment.shift must be from 0 to below 1"),
        ({"validation": 1.0}, "validation must be a number from 0 to below 1"),
        ({"validation": 0.01}, "validation=0.01 of 30 examples"),
        ({"validation": [X]}, r"validation must be None, a fraction of the examples, or a pair"),
        ({"validation": (X, Y[:5])}, "validation is a pair of 30 examples and 5 labels"),
        ({"validation": (X[:, :5], Y)}, r"X holds images of shape \(5, 9, 1\)"),
        ({"validation": (X, np.full(30, "up"))}, "validation holds the label .*up"),
        ({"class_weights": "fair"}, "class_weights is 'fair'"),
        ({"class_weights": {"up": 2.0}}, "class_weights names the label 'up'"),
        ({"class_weights": {"left": -2.0}}, r"class_weights\['left'\] must be a number"),
        ({"class_weights": [1, 2, 3]}, "class_weights must be None, 'balanced' or a mapping"),
        ({"label_smoothing": 1.0}, "label_smoothing must be a number from 0 to below 1"),
        ({"clip_norm": -1}, "clip_norm must be a number"),
        ({"precision": "half"}, "precision is 'half'; choose one of: float32, bfloat16, tf32, auto"),
        ({"precision": "tf32"}, "precision=tf32 needs a GPU of compute capability 8.0 or more, but backend"),
        ({"pixels": "raw"}, "pixels is 'raw'; choose unit or standardize"),
        ({"model": "resnet10"}, "unknown model 'resnet10'; choose one of: .*resnet9"),
        ({"model": "nowhere.yaml"}, "nowhere.yaml cannot be read"),
        ({"model": {"widths": [3]}}, "model.layers is empty"),
        ({"model": {"layers": ["${model.missing}"]}}, "missing"),
        ({"model": []}, "model.layers is empty"),
        ({"model": 3}, "model must be a name, the path of a YAML file, a mapping or a list of layers, not 3"),
        ({"model": [ReLU, Dense("classes")]}, r"model.layers\[0\]: an entry is a layer's name"),
        ({"model": [Conv2D(3), Dense("classes")]}, r"model.layers\[1\] \(dense\): it needs a vector"),
        ({"model": ["flatten", Dense(5)]}, "ends in shape"),
        ({"learning_rate": 1e30, "schedule": "constant", "optimizer": "sgd"}, "loss is .* in epoch"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_wrong_option_is_named(options, says):
    classifier = small(**options)  # nothing is checked before fit
    with pytest.raises(ValueError, match=says) as caught:
        classifier.fit(X, Y)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (X[0, 0], Y[:9], "Reshape your data"),
        (X[..., None, None], Y, r"X has shape \(30, 6, 9, 1, 1\)"),
        (X[:, :0], Y, "0"),
        (X[:0], Y[:0], "0 sample"),
        (X, Y[:-1], "inconsistent numbers of samples"),
        (X, None, "y is missing"),
        (X, np.full(30, "left"), "one class only"),
        (X, np.linspace(0, 1, 30), "continuous"),
        (np.where(np.arange(9) == 3, np.nan, X), Y, "NaN"),
        (np.where(np.arange(9) == 3, np.inf, X), Y, "infinity"),
        (X * 1e200, Y, "so large that their variance is none"),
        (X + 0j, Y, "Complex"),
        (X.astype(str), Y, "could not convert|dtype='numeric'"),
    ],
    ids=lambda value: str(getattr(value, "shape", value))[:30],
)
def test_data_that_cannot_be_learned_is_refused(images, labels, says):
    with pytest.raises(ValueError, match=says):
        small().fit(images, labels)


def test_vectors_for_a_network_of_images_and_the_reverse_are_refused(fitted):
    flat = X.reshape(30, -1)
    with pytest.raises(ValueError, match=r"it needs an image \(h, w, c\)"):
        small().fit(flat, Y)
    with pytest.raises(ValueError, match="augment is for images"):
        small(model="mlp", augment="flip").fit(flat, Y)
    with pytest.raises(ValueError, match="Reshape your data"):
        fitted.predict(flat)
    with pytest.raises(ValueError, match="dim 3"):
        small(model="mlp", epochs=1).fit(flat, Y).predict(X)


def test_images_of_another_shape_are_refused(fitted):
    with pytest.raises(ValueError, match=r"images of shape \(9, 6, 1\), but the network was trained on \(6, 9, 1\)"):
        fitted.predict(X.transpose(0, 2, 1))


def test_channels_that_seem_to_come_first_are_told(rng):
    images = rng.integers(0, 255, (12, 3, 8, 8), np.uint8)
    with pytest.warns(UserWarning, match=r"transpose\(0, 2, 3, 1\)"):
        small(epochs=1).fit(images, np.arange(12) % 2)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "feature_maps"])
def test_nothing_comes_from_an_estimator_that_has_not_learned(method):
    with pytest.raises(NotFittedError):
        getattr(small(), method)(X)
    with pytest.raises(NotFittedError):
        small().report(X, Y)
    with pytest.raises(NotFittedError):
        small().save("anywhere")


def test_unknown_labels_in_a_report_are_named(fitted):
    with pytest.raises(ValueError, match=r"y holds the label .*up"):
        fitted.report(X, np.full(30, "up"))
