"""What `fit` takes, what it learns, and how it repeats."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from api.conftest import NAMES, layers, small, stripes
from cnn import Classifier
from cnn.layers import BatchNorm, Conv2D, Dense, Flatten, GlobalAvgPool2D, PatchWhitening, ReLU
from cnn.models import Branches, Residual
from cnn.training.batches import AugmentSettings
from cnn.training.optimizers import SgdSettings
from cnn.training.schedules import ScheduleSettings


def weights(classifier: Classifier) -> dict[str, np.ndarray]:
    return classifier.model_.state()


def assert_same(first: Classifier, second: Classifier) -> None:
    assert weights(first).keys() == weights(second).keys()
    for name, tensor in weights(first).items():
        assert_array_equal(tensor, weights(second)[name], err_msg=name)


# --- what it learns ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
@pytest.mark.parametrize(
    "form",
    [
        lambda X: X,
        lambda X: X[..., None],
        lambda X: X.astype(np.int64),
        lambda X: (X / 255).astype(np.float32),
        lambda X: X * 1e6 - 3e8,
        lambda X: X.astype(np.float16),
        lambda X: X > 110,
        lambda X: X.tolist(),
    ],
    ids=["uint8", "with channels", "int64", "float32 fractions", "large float64", "float16", "bool", "lists"],
)
def test_images_of_every_kind_are_learned(form, backend):
    (X, y), (others, expected) = stripes(90), stripes(60, seed=1)
    classifier = small(backend=backend).fit(form(X), y)
    assert classifier.score(form(others), expected) > 0.95
    assert_array_equal(classifier.classes_, NAMES)
    assert classifier.predict_proba(form(others)).shape == (60, 3)


@pytest.mark.parametrize(("hw", "channels"), [((6, 9), 2), ((5, 12), 3), ((1, 15), 1), ((7, 3), None)], ids=str)
def test_images_of_every_shape_are_learned(hw, channels):
    X, y = stripes(90, hw, channels)
    classifier = small(model=[Conv2D(4), ReLU(), Flatten(), Dense("classes")]).fit(X, y)
    assert classifier.score(X, y) > 0.95
    assert classifier.input_shape_ == (*hw, channels or 1)


@pytest.mark.parametrize("labels", [[10, -3, 7], ["b", "a", "c"], [True, False], [2.0, 5.0, 1.0]], ids=str)
def test_labels_of_every_kind_come_back(labels):
    X, y = stripes(60)
    y = np.array(labels)[np.searchsorted(NAMES, y) % len(labels)]
    classifier = small(epochs=10).fit(X, y)
    assert_array_equal(classifier.classes_, np.unique(labels))
    predicted = classifier.predict(X)
    assert predicted.dtype == y.dtype
    assert (predicted == y).mean() > 0.6


def test_vectors_are_learned_with_features_of_any_scale(rng):
    X = rng.normal(size=(200, 4)) * [1e-6, 1, 1e5, 1] + [0, 1e9, 0, 5]
    X[:, 3] = 5  # constant: it tells nothing and disturbs nothing
    y = (X[:, 0] * 1e6 + (X[:, 1] - 1e9) > 0).astype(int)
    classifier = Classifier(epochs=40, batch_size=16).fit(X[:150], y[:150])
    assert classifier.score(X[150:], y[150:]) > 0.9
    assert classifier.n_features_in_ == 4
    assert classifier.input_shape_ == (4,)


def test_an_estimator_learns_anew_from_other_data():
    X, y = stripes(60)
    again = small().fit(X.reshape(60, 54)[:, :, None, None], y)
    again.set_params(model="mlp").fit(X.reshape(60, 54), y)
    assert again.n_features_in_ == 54
    again.set_params(model=layers()).fit(X, y)
    assert not hasattr(again, "n_features_in_")
    assert_same(again, small().fit(X, y))


# --- repeating --------------------------------------------------------------------------------------------------------


def test_the_seed_alone_decides_on_any_number_of_threads():
    X, y = stripes(70)
    options = {"augment": "strong", "validation": 0.2}
    first = small(seed=3, **options).fit(X, y)
    assert_same(first, small(seed=3, threads=2, **options).fit(X, y))
    other = small(seed=4, **options).fit(X, y)
    assert (weights(other)["conv2d_1.weight"] != weights(first)["conv2d_1.weight"]).any()
    first.fit(X, y)  # a second fit starts afresh
    assert_same(first, small(seed=3, **options).fit(X, y))


def test_numpys_numbers_are_numbers():
    X, y = stripes(60)
    given = {"epochs": np.int64(2), "learning_rate": np.float32(0.02), "seed": np.uint8(0)}
    assert_same(small(**given).fit(X, y), small(epochs=2, learning_rate=float(np.float32(0.02))).fit(X, y))


# --- options ----------------------------------------------------------------------------------------------------------


def test_without_validation_the_last_epoch_is_kept():
    X, y = stripes(60)
    classifier = small(epochs=3).fit(X, y)
    assert classifier.best_epoch_ == 3
    assert [row["epoch"] for row in classifier.history_] == [1, 2, 3]
    assert "val_accuracy" not in classifier.history_[0]
    assert classifier.class_count_.tolist() == [20, 20, 20]


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
def test_with_validation_the_best_epoch_is_kept(backend):
    X, y = stripes(60)
    others = stripes(45, seed=5)
    options = {"epochs": 8, "learning_rate": 0.3, "schedule": "constant", "seed": 2, "backend": backend}
    classifier = small(validation=others, **options).fit(X, y)
    measured = [row["val_accuracy"] for row in classifier.history_]
    assert measured[-1] != max(measured)  # this rate does not converge: the selection matters
    assert classifier.best_epoch_ == 1 + int(np.argmax(measured))
    assert classifier.score(*others) == pytest.approx(max(measured))


def test_a_fraction_is_drawn_from_each_class_and_not_trained_on():
    X, y = stripes(60)
    y[y == "right"] = "middle"
    classifier = small(validation=0.25).fit(X, y)
    assert classifier.class_count_.tolist() == [15, 30]
    assert len(set(classifier.history_[0]) & {"val_loss", "val_accuracy"}) == 2


def test_training_stops_when_validation_gets_no_better():
    X, y = stripes(60)
    others = stripes(45, seed=5)
    classifier = small(epochs=50, validation=others, early_stopping=2, schedule="constant").fit(X, y)
    assert len(classifier.history_) == classifier.best_epoch_ + 2 < 50


def test_settings_may_be_names_mappings_or_dataclasses():
    X, y = stripes(60)
    by_name = small(optimizer="sgd", schedule="cosine", augment="flip_shift").fit(X, y)
    sgd = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    cosine = {"name": "cosine", "warmup": 0.05}
    flip = {"flip": True, "shift": 0.1}
    assert_same(by_name, small(optimizer=sgd, schedule=cosine, augment=flip).fit(X, y))
    given = {
        "optimizer": SgdSettings(**sgd),
        "schedule": ScheduleSettings(**cosine),
        "augment": AugmentSettings(**flip),
    }
    assert_same(by_name, small(**given).fit(X, y))
    assert (weights(small().fit(X, y))["dense_1.weight"] != weights(by_name)["dense_1.weight"]).any()


def test_class_weights_move_the_predictions(rng):
    X, y = stripes(90)
    X = rng.integers(0, 255, X.shape, np.uint8)  # nothing to be learned but how frequent the classes are
    y = np.where(np.arange(90) % 10 < 8, "often", "seldom")
    plain, balanced, own = (
        small(class_weights=chosen).fit(X, y).predict_proba(X)[:, 1].mean()
        for chosen in (None, "balanced", {"seldom": 50.0})
    )
    assert plain < 0.35 < balanced < 0.65 < own


def test_smoothing_and_clipping_have_an_effect():
    X, y = stripes(60)
    plain = small().fit(X, y)
    assert small(label_smoothing=0.4).fit(X, y).predict_proba(X).max() < plain.predict_proba(X).max()
    assert (weights(small(clip_norm=1e-4).fit(X, y))["dense_1.weight"] != weights(plain)["dense_1.weight"]).any()


def test_unit_pixels_are_divided_by_255():
    X, y = stripes(60)
    assert small(pixels="unit", epochs=20).fit(X, y).score(X, y) > 0.9
    with pytest.raises(ValueError, match="pixels='unit' divides uint8"):
        small(pixels="unit").fit(X / 255, y)


# --- models -----------------------------------------------------------------------------------------------------------


def test_models_are_names_files_mappings_or_layers(tmp_path):
    X, y = stripes(60)
    path = tmp_path / "own.yaml"
    path.write_text("name: own\nwidths: [5]\nlayers:\n- conv2d: {filters: '${model.widths[0]}'}\n- relu\n")
    with path.open("a") as file:
        file.write("- global_avg_pool2d\n- dense: {units: classes}\n")
    mapping = {
        "widths": [5],
        "layers": [{"conv2d": {"filters": "${model.widths[0]}"}}, "relu", "global_avg_pool2d", {"dense": "classes"}],
    }
    objects = [Conv2D(5), ReLU(), GlobalAvgPool2D(), Dense("classes")]
    first = small(model=path).fit(X, y)
    for model in (str(path), mapping, objects, {"layers": objects}):
        assert_same(first, small(model=model).fit(X, y))
    assert first.model_.name == "own"
    assert small(model="lenet", epochs=1).fit(*stripes(30, (12, 12))).model_.name == "lenet"


def test_a_layer_in_two_places_has_parameters_of_its_own_in_each():
    conv = Conv2D(4)
    model = [conv, ReLU(), Conv2D(4), Residual([conv, BatchNorm()], [conv]), conv, GlobalAvgPool2D(), Dense("classes")]
    classifier = small(model=model).fit(*stripes(30))
    found = {name: tensor for name, tensor in weights(classifier).items() if name.startswith("conv2d")}
    assert sorted(found) == [f"conv2d_{i}.{part}" for i in range(1, 6) for part in ("bias", "weight")]
    assert found["conv2d_1.weight"].shape == (3, 3, 1, 4)
    assert len({found[f"conv2d_{i}.weight"].tobytes() for i in range(1, 6)}) == 5


def test_branches_may_hold_objects_and_configs():
    branches = Branches("concat", [[Conv2D(3)], ["relu", {"conv2d": {"filters": 2}}], []])
    classifier = small(model=[branches, Flatten(), Dense("classes")]).fit(*stripes(60))
    assert classifier.feature_maps(stripes(3)[0])["concat_1"].shape == (3, 6, 9, 6)


def test_a_first_layer_that_whitens_sees_the_training_examples():
    X, y = stripes(60)
    model = [PatchWhitening(2), ReLU(), GlobalAvgPool2D(), Dense("classes")]
    for images in (X, X.astype(np.float64) - 3):
        still = small(model=model, epochs=2).fit(images, y)
        scaled = (images - images.mean()) / images.std()
        expected = PatchWhitening(2).from_images(scaled.reshape(*scaled.shape[:3], 1))["weight"]
        np.testing.assert_allclose(weights(still)["patch_whitening_1.weight"], expected, rtol=1e-3, atol=1e-3)


# --- scikit-learn's tools ---------------------------------------------------------------------------------------------


def test_cross_validation_of_images():
    X, y = stripes(90)
    assert cross_val_score(small(), X, y, cv=3).min() > 0.9


def test_a_grid_of_options_and_models():
    X, y = stripes(90)
    grid = {"model": [layers(), "mlp"], "learning_rate": np.logspace(-9, -2, 2)}
    search = GridSearchCV(small(), grid, cv=2).fit(X, y)
    assert search.best_params_["learning_rate"] == pytest.approx(1e-2)
    assert search.score(X, y) > 0.9


def test_pipelines_of_vectors_and_of_images():
    X, y = stripes(90)
    flat = X.reshape(90, -1).astype(float)
    assert make_pipeline(StandardScaler(), Classifier(epochs=20)).fit(flat, y).score(flat, y) > 0.9
    mirrored = make_pipeline(FunctionTransformer(lambda X: X[:, :, ::-1]), small())
    mirrored.fit(X, y)
    assert mirrored.score(X, y) > 0.9
    assert "Conv2D" in str(mirrored)


def test_a_clone_has_equal_options_and_nothing_learned(fitted):
    copy = clone(fitted)
    assert repr(copy.get_params()) == repr(fitted.get_params())
    assert not hasattr(copy, "classes_")
    assert_same(copy.fit(*stripes(90)), fitted)
