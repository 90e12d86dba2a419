"""An empty split or class: the message counts why its images are left out, with an example of each reason."""

from pathlib import Path

import pytest
from drawn import configured, files_of, png, write_tree

from data_tools.prepare import prepare
from foundation.errors import UserError

GOOD = files_of({"train": 3, "validation": 2, "test": 2})


def refused(root: Path, files: dict[str, bytes], **data: object) -> str:
    write_tree(root / "tiny", files)
    with pytest.raises(UserError) as caught:
        prepare(configured(root, "tiny", data=data))
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_of_unknown_labels(root: Path, split: str) -> None:
    files = {path.replace("cat", "lion").replace("dog", "wolf") if path.startswith(split) else path: data
             for path, data in GOOD.items()}  # fmt: skip
    count = {"train": 6, "validation": 4, "test": 4}[split]
    message = refused(root, files)
    assert f"the {split} split is empty: of its {count} images {count} set aside" in message
    assert f"(tiny:{split}/lion/0.png: unknown label 'lion')" in message


def test_several_reasons_are_counted_with_an_example_each(root: Path) -> None:
    broken = {"test/cat/0.png": b"", "test/cat/1.png": b"?", "test/dog/0.png": b"??", "test/dog/1.png": png(1)[:50]}
    message = refused(root, GOOD | broken)
    assert "the test split is empty: of its 4 images" in message
    assert "2 set aside (tiny:test/cat/1.png: not an image that can be recognised)" in message
    assert "1 set aside (tiny:test/cat/0.png: empty file)" in message
    assert "1 set aside (tiny:test/dog/1.png: truncated image file)" in message


def test_a_class_whose_images_are_all_broken(root: Path) -> None:
    message = refused(root, GOOD | {f"train/dog/{i}.png": b"?" for i in range(3)})
    assert "class 'dog' has no training image: 3 set aside (tiny:train/dog/0.png: not an image" in message


def test_a_class_under_another_name(root: Path) -> None:
    message = refused(root, {path.replace("train/dog", "train/hound"): data for path, data in GOOD.items()})
    assert "class 'dog' has no training image: 3 set aside (tiny:train/hound/0.png: unknown label 'hound')" in message
    assert "data.label_map" in message


def test_a_class_that_is_a_link_out_of_the_folder(root: Path) -> None:
    write_tree(root.parent / "elsewhere", {"0.png": png(1)})
    files = {path: data for path, data in GOOD.items() if not path.startswith("train/dog")}
    write_tree(root / "tiny", files)
    (root / "tiny/train/dog").symlink_to(root.parent / "elsewhere")
    message = refused(root, files)
    assert "class 'dog' has no training image" in message
    assert "symbolic link out of the data folder" in message


def test_images_that_are_duplicates_of_others(root: Path) -> None:
    files = GOOD | {f"train/dog/{i}.png": GOOD[f"test/dog/{i % 2}.png"] for i in range(3)}
    message = refused(root, files)
    assert (
        "class 'dog' has no training image: 3 duplicate (tiny:train/dog/0.png: duplicate of tiny:test/dog/" in message
    )


def test_a_split_that_no_source_has(root: Path) -> None:
    message = refused(root, {path: data for path, data in GOOD.items() if not path.startswith("test")})
    assert "the test split is empty: no source has an image for it; merge.test.fraction=0.2 draws one" in message


def test_numbered_and_plain_class_folders_side_by_side(root: Path) -> None:
    files = {path.replace("train/cat", "train/0_cat"): data for path, data in GOOD.items() if path.startswith("train")}
    message = refused(root, files)
    assert "has the class folders 0_cat and dog: either all names of classes begin with a number or none" in message
