"""The merge stops before it drops different images as duplicates, and says which option lifts the limit."""

import re

import numpy as np
import pytest

from data_tools.config import DrawConfig, GuardsConfig, MergeConfig
from data_tools.duplicates.assign import Grouping
from data_tools.merging.merge import merge
from data_tools.reading.manifest import Row
from data_tools.reading.read import Collection
from foundation.errors import UserError

CLASSES = ["cat", "dog"]


def merged(groups: list[list[str]], **policy: object) -> list[Row]:
    """Merge groups of images, each given as 'split/class' or 'split/class/pixels', beside 60 single ones of a class."""
    rows, names = [], {}
    single = [[f"train/{CLASSES[at % 2]}"] for at in range(120)]
    for number, group in enumerate([*groups, *single, ["validation/cat"], ["test/cat"]]):
        for place, what in enumerate(group):
            split, label, *same = what.split("/")
            name = f"s:{number:04} {place:04}"
            rows.append(Row(name, "s", name, split, label, label, name, same[0] if same else name))
            names[name] = f"s:{number:04} 0000"
    collection = Collection(rows, {row.id: np.zeros((8, 8, 1), np.uint8) for row in rows})
    config = MergeConfig(["s"], "augmented", validation=policy.pop("validation", DrawConfig(0.1)), **policy)
    merge(collection, Grouping({"augmented": names}), config, CLASSES)
    return collection.rows


def stops(groups: list[list[str]], option: str, **policy: object) -> str:
    with pytest.raises(UserError) as error:
        merged(groups, **policy)
    message = str(error.value)
    assert "\n" not in message
    assert f"merge.guards.{option}=1 lifts this limit" in message
    assert "merge.duplicates=pixels" in message
    guards = policy.pop("guards", GuardsConfig())
    setattr(guards, option, 1.0)
    merged(groups, guards=guards, **policy)
    return message


def test_a_group_that_is_much_of_its_class() -> None:
    message = stops([["train/cat"] * 30], "group")
    assert "30 of the 92 different images of class 'cat'" in message
    assert len(re.findall(r"s:0000 \d{4}", message)) == 3
    merged([["train/cat"] * 19])  # few, though many of the class: the rest is 60
    merged([["train/cat"] * 23], guards=GuardsConfig(group=0.3))


def test_many_groups_with_several_labels() -> None:
    message = stops([["train/cat", "train/dog"]] * 40, "mixed_labels")
    assert "80 of 202 different images" in message
    merged([["train/cat", "train/dog"]] * 10)
    merged([["train/cat", "train/cat"]] * 40)


def test_a_class_that_loses_most_of_its_images() -> None:
    groups = [["train/dog"] * 15 for _ in range(40)]
    message = stops(groups, "lost", guards=GuardsConfig(group=1, lost=0.8))
    assert "class 'dog' would lose 560 of its 660 different images" in message
    merged(groups)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_published_split_that_loses_many_images(split: str) -> None:
    groups = [[f"{split}/cat"] * 2 for _ in range(40)]
    message = stops(groups, "lost_evaluation", thin=["train", "validation", "test"])
    assert f"the {split} split of s would lose 40 of its 81 different images" in message
    merged(groups)  # by default it is not thinned at all


def test_repeats_of_equal_pixels_never_stop_it() -> None:
    groups = [["train/cat/same"] * 500, *([f"test/dog/{at}", f"test/dog/{at}"] for at in range(100)),
              *([f"train/cat/x{at}", f"train/dog/x{at}"] for at in range(100))]  # fmt: skip
    rows = merged(groups, thin=["train", "validation", "test"])
    assert sum(row.status == "duplicate" for row in rows) == 499 + 100 + 100


def test_a_split_given_up_on_purpose_is_not_guarded() -> None:
    groups = [["test/cat"] * 2 for _ in range(40)]
    split_map = dict.fromkeys(("train", "validation", "test"), "train")
    merged(groups, split_map=split_map, test=DrawConfig(0.2))
