"""Sets of a few images: fractions that round to nothing, classes that a split lacks, one class, one image."""

from collections import Counter
from pathlib import Path

import pytest
from drawn import configured, png, prepared, write_tree

from foundation.errors import UserError

DRAWN = {"test": {"fraction": 0.2}, "validation": {"fraction": 0.2}}


def tree(root: Path, **counts: int) -> None:
    """Different images of each class, without splits."""
    numbers = iter(range(1000))
    write_tree(root / "tiny", {f"{name}/{n}.png": png(next(numbers)) for name in counts for n in range(counts[name])})


def splits_of(root: Path, *classes: str, **merge: object) -> dict[str, Counter[str]]:
    pack = prepared(configured(root, "tiny", data={"classes": list(classes)}, **(DRAWN | merge)))
    return {name: Counter(row.split for row in pack.where(label=name, status="kept")) for name in classes}


@pytest.mark.parametrize("images", [3, 4, 5, 7])
@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.2])
def test_every_split_has_an_image_of_every_class(root: Path, images: int, fraction: float) -> None:
    tree(root, cat=images, dog=images)
    found = splits_of(root, "cat", "dog", test={"fraction": fraction}, validation={"fraction": fraction})
    for counts in found.values():
        assert counts == {"test": 1, "validation": 1, "train": images - 2}


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.99])
def test_every_class_keeps_a_training_image(root: Path, fraction: float) -> None:
    tree(root, cat=4, dog=9)
    found = splits_of(root, "cat", "dog", test={"fraction": fraction}, validation={"fraction": fraction})
    assert all(counts["train"] >= 1 for counts in found.values())


def test_larger_fractions_are_as_before(root: Path) -> None:
    tree(root, cat=20, dog=33)
    found = splits_of(root, "cat", "dog")
    assert found["cat"] == {"test": 4, "validation": 3, "train": 13}
    assert found["dog"] == {"test": 7, "validation": 5, "train": 21}


def test_a_class_that_is_one_photograph_stays_in_training(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree(root, cat=6, dog=0)
    write_tree(root / "tiny", {f"dog/{n}.png": png(99, compress_level=n) for n in range(5)})
    found = splits_of(root, "cat", "dog", duplicates="pixels", repeats="all")
    assert found["dog"] == {"train": 5}
    out = " ".join(capsys.readouterr().out.split())
    assert "the validation split has no image of dog: its scores say nothing about that" in out
    assert "the test split has no image of dog" in out
    assert "the train split has no" not in out


@pytest.mark.parametrize("images", [1, 2])
def test_too_few_for_three_splits(root: Path, images: int) -> None:
    tree(root, cat=images, dog=images)
    with pytest.raises(UserError, match=r"the validation split is empty: .*a class needs three"):
        splits_of(root, "cat", "dog")


def test_two_images_a_class_beside_larger_classes(root: Path) -> None:
    tree(root, cat=2, dog=9)
    found = splits_of(root, "cat", "dog")
    assert found["cat"] == {"test": 1, "train": 1}


def test_one_class_is_nothing_to_tell_apart(root: Path) -> None:
    tree(root, cat=9)
    with pytest.raises(UserError, match="one class, 'cat'"):
        splits_of(root, "cat")
