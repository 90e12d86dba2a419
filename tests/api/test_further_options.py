"""Options of training that the estimator takes as a mapping, and fine-tuning."""

import numpy as np
import pytest

from api.conftest import small, stripes
from cnn import Classifier

X, Y = stripes(60, hw=(8, 12))


def test_the_average_and_smaller_images_are_those_of_the_commands(tmp_path):
    trainer = {"ema": 0.9, "sizes": [[4, 2], [6, 1]]}
    classifier = small(epochs=5, trainer=trainer, validation=0.2).fit(X, Y)
    assert [row["image_size"] for row in classifier.history_] == [4, 4, 6, 8, 8]
    plain = small(epochs=5, validation=0.2).fit(X, Y)
    assert not np.allclose(classifier.predict_proba(X), plain.predict_proba(X))
    classifier.save(tmp_path)
    again = Classifier.load(tmp_path, backend="cpu", threads=1)
    assert again.trainer == trainer
    assert Classifier.load(save(plain, tmp_path / "plain"), backend="cpu").trainer is None
    np.testing.assert_array_equal(again.fit(X, Y).predict_proba(X), classifier.predict_proba(X))


def save(classifier, folder):
    classifier.save(folder)
    return folder


def test_fine_tuning_begins_with_the_weights_of_another_network(tmp_path):
    first = small(epochs=8).fit(X, Y)
    first.save(tmp_path)
    new = np.where(np.array(Y) == "left", "a", "b")
    tuned = small(epochs=1, start_from=tmp_path, freeze="features").fit(X, new)
    begun, own = first.model_.state(), tuned.model_.state()
    for name, tensor in begun.items():
        if not name.startswith("dense_1"):
            np.testing.assert_array_equal(own[name], tensor, err_msg=name)
    assert own["dense_1.weight"].shape[1] == 2
    same = small(epochs=1, start_from=str(tmp_path), learning_rate=1e-9).fit(X, Y)
    np.testing.assert_allclose(same.predict_proba(X), first.predict_proba(X), atol=0.05)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"trainer": {"epochs": 3}}, "trainer has 'epochs'; it takes ema"),
        ({"trainer": {"emma": 0.9}}, "trainer has 'emma'"),
        ({"trainer": {"ema": "much"}}, r"trainer.ema must be a number or null"),
        ({"trainer": {"ema": 1.5}}, r"trainer.ema is the weight of the past"),
        ({"trainer": {"sizes": [4, 2]}}, r"trainer.sizes\[0\] must be a list"),
        ({"trainer": {"sizes": [[4, 99]]}}, "at least one must be left"),
        ({"trainer": {"sizes": [[8, 1]]}}, "full size is 8 x 12"),
        ({"trainer": [1]}, "trainer must be a mapping"),
        ({"freeze": "features"}, "they would be random"),
        ({"start_from": "nowhere"}, "nowhere"),
    ],
)
def test_wrong_options_are_refused_in_a_line(options, says):
    with pytest.raises(ValueError, match=says) as raised:
        small(**options).fit(X, Y)
    assert "\n" not in str(raised.value)
