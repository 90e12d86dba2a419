from __future__ import annotations

import hashlib
import io
import warnings
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_tools.reading.images import ImageError, decode
from data_tools.reading.labels import LabelMap
from data_tools.sources.base import Entry
from data_tools.sources.face_drawing import CLASSES
from data_tools.sources.toy_faces import COLLECTIONS, ToyFaces
from foundation.errors import UserError

Drawn = dict[str, list[Entry]]
to_class = LabelMap(CLASSES)


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return {name: list(ToyFaces(name).entries()) for name in COLLECTIONS}


@pytest.fixture(scope="module")
def pixels(drawn: Drawn) -> dict[tuple[str, str], np.ndarray]:
    """(source, path) -> pixels, of every file that is whole."""
    return {
        (entry.source, entry.path): decode(entry.data or b"")
        for entries in drawn.values()
        for entry in entries
        if "broken" not in entry.path
    }


@pytest.mark.parametrize("name", COLLECTIONS)
def test_same_seed_draws_the_same_files(name: str, drawn: Drawn) -> None:
    again = list(islice(ToyFaces(name).entries(), 40))
    assert again == drawn[name][:40]


def test_other_seed_draws_other_faces_and_changes_the_fingerprint(drawn: Drawn) -> None:
    other = list(islice(ToyFaces("toy_studio", seed=1).entries(), 20))
    assert all(a.path == b.path and a.data != b.data for a, b in zip(other, drawn["toy_studio"], strict=False))
    assert ToyFaces("toy_studio", seed=1).fingerprint() != ToyFaces("toy_studio").fingerprint()
    assert ToyFaces("toy_studio").fingerprint() == ToyFaces("toy_studio").fingerprint()


@pytest.mark.parametrize("name", COLLECTIONS)
def test_paths_are_unique_and_the_number_is_announced(name: str, drawn: Drawn) -> None:
    assert len({entry.path for entry in drawn[name]}) == len(drawn[name]) == ToyFaces(name).expected()
    assert {entry.source for entry in drawn[name]} == {name}


def test_every_class_is_in_both_splits_of_both_sources_and_disgust_is_rare(drawn: Drawn) -> None:
    for entries in drawn.values():
        for split, least in (("train", 50), ("test", 30)):
            counts = Counter(to_class(entry.label) for entry in entries if entry.original_split == split)
            assert set(counts) == set(CLASSES)
            assert min(counts, key=counts.__getitem__) == "disgust"
            assert counts["disgust"] >= least
        train = Counter(to_class(entry.label) for entry in entries if entry.original_split == "train")
        assert max(train.values()) > 4 * train["disgust"]


def test_sources_name_some_classes_differently(drawn: Drawn) -> None:
    labels = [{entry.label for entry in entries} for entries in drawn.values()]
    assert labels[0] != labels[1]


def test_images_are_48x48_grey_png_files(drawn: Drawn, pixels: dict[tuple[str, str], np.ndarray]) -> None:
    assert {image.shape for image in pixels.values()} == {(48, 48)}
    with Image.open(io.BytesIO(drawn["toy_street"][0].data or b"")) as image:
        assert (image.format, image.mode) == ("PNG", "L")
    assert min(image.std() for image in pixels.values()) > 8  # none is blank


def test_exactly_one_file_is_broken(drawn: Drawn) -> None:
    reasons = []
    for entry in (entry for entries in drawn.values() for entry in entries):
        try:
            decode(entry.data or b"")
        except ImageError as error:
            reasons.append((entry.source, entry.path, str(error)))
    assert reasons == [("toy_street", "train/neutral/broken.png", "truncated image file")]


def test_sources_share_images_as_same_file_and_encoded_anew(
    drawn: Drawn, pixels: dict[tuple[str, str], np.ndarray]
) -> None:
    studio = {pixels[entry.source, entry.path].tobytes(): entry for entry in drawn["toy_studio"]}
    assert len(studio) == len(drawn["toy_studio"])  # no duplicates within a source
    kinds: Counter[tuple[str, str, bool]] = Counter()
    for entry in drawn["toy_street"]:
        if (entry.source, entry.path) not in pixels:
            continue
        duplicate = studio.get(pixels[entry.source, entry.path].tobytes())
        if duplicate:
            assert to_class(duplicate.label) == to_class(entry.label)
            kinds[duplicate.original_split, entry.original_split, duplicate.data == entry.data] += 1
    for studio_split in ("train", "test"):
        for street_split in ("train", "test"):
            for same_file in (True, False):
                assert kinds[studio_split, street_split, same_file] >= 7


def test_a_linear_model_on_pixels_is_weak(drawn: Drawn, pixels: dict[tuple[str, str], np.ndarray]) -> None:
    """The faces must need a network: logistic regression sees something, but far less than a person."""
    by_split: dict[str, dict[str, tuple[np.ndarray, str | None]]] = {"test": {}, "train": {}}
    seen: set[str] = set()
    for split, kept in by_split.items():
        for entry in (entry for entries in drawn.values() for entry in entries[::2]):
            image = pixels.get((entry.source, entry.path))
            if image is None or entry.original_split != split:
                continue
            digest = hashlib.sha256(image.tobytes()).hexdigest()
            if digest not in seen:
                seen.add(digest)
                kept[digest] = (image.ravel() / 255, to_class(entry.label))
    train_x, train_y = map(np.array, zip(*by_split["train"].values(), strict=True))
    test_x, test_y = map(np.array, zip(*by_split["test"].values(), strict=True))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=40))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its accuracy has converged long before
        accuracy = model.fit(train_x, train_y).score(test_x, test_y)
    majority = max(Counter(test_y.tolist()).values()) / len(test_y)
    assert majority + 0.05 < accuracy < 0.65


@pytest.mark.parametrize(("name", "seed"), [("toy_moon", 0), ("toy_studio", -1), ("toy_studio", "zero")])
def test_unknown_source_or_impossible_seed_is_one_clear_line(name: str, seed: int) -> None:
    with pytest.raises(UserError, match=f"data.sources.{name}"):
        ToyFaces(name, seed)
