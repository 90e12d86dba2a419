"""The policy: who yields to whom, what is never thinned, and that nothing leaks through balancing."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from drawn import CLASSES, Pack, configured, encoded, files_of, pixels, png, prepared, write_tree
from hydra import compose, initialize_config_dir

from data_tools.prepare import prepare
from foundation.config import config_dir
from foundation.errors import UserError

SPLITS = {"train": 4, "validation": 2, "test": 2}
OFFICIAL = {"thin": ["train"]}
THIN_ALL = {"thin": ["train", "validation", "test"]}


def recompressed(seed: int) -> bytes:
    """Other bytes, the same pixels."""
    return png(seed, compress_level=0)


@pytest.fixture
def files() -> dict[str, bytes]:
    return files_of(SPLITS)


def test_every_input_image_has_one_row(root: Path, files: dict[str, bytes]) -> None:
    copies = {"train/cat/copy.png": png(0), "train/dog/broken.png": png(1)[:20]}
    write_tree(root / "tiny", files | copies)
    pack = prepared(configured(root, "tiny", balance={"target": 5}))
    assert Counter(row.path for row in pack.rows if row.status != "made") == dict.fromkeys(files | copies, 1)
    assert sum(row.packed for row in pack.rows) == len(pack.images) == len(pack.labels) == len(pack.splits)
    assert sorted(row.pack_row for row in pack.rows if row.packed) == list(range(len(pack.images)))
    for row in pack.rows:
        if row.packed:
            assert pack.labels[row.pack_row] == CLASSES.index(row.label)
            assert pack.json["split_names"][pack.splits[row.pack_row]] == row.split
        else:
            assert row.reason
            assert row.split == ""


@pytest.mark.parametrize(("level", "dropped"), [("pixels", 2), ("bytes", 1), ("none", 0)])
def test_levels(root: Path, files: dict[str, bytes], level: str, dropped: int) -> None:
    write_tree(root / "tiny", files | {"train/cat/a.png": png(0), "train/cat/b.png": recompressed(0)})
    pack = prepared(configured(root, "tiny", duplicates=level))
    yielding = pack.where(status="duplicate")
    assert len(yielding) == dropped
    assert all(row.duplicate_of in row.reason and row.duplicate_of == "tiny:train/cat/0.png" for row in yielding)
    assert len({row.group for row in pack.rows}) == len(pack.images)
    for row in yielding:
        assert row.group == pack.by_id[row.duplicate_of].group


def test_twins_across_splits_leave_training(root: Path, files: dict[str, bytes]) -> None:
    files["train/cat/0.png"] = files["test/cat/0.png"]
    files["train/cat/1.png"] = files["validation/cat/0.png"]
    files["validation/dog/0.png"] = files["test/dog/0.png"]
    write_tree(root / "tiny", files)
    left = {"train/cat/0.png": "tiny:test/cat/0.png", "train/cat/1.png": "tiny:validation/cat/0.png"}
    pack = prepared(configured(root, "tiny"))
    assert {row.path: row.duplicate_of for row in pack.where(status="duplicate")} == left
    pack = prepared(configured(root, "tiny", **THIN_ALL))
    assert {row.path: row.duplicate_of for row in pack.where(status="duplicate")} == left | {
        "validation/dog/0.png": "tiny:test/dog/0.png"
    }


def test_evaluation_splits_are_not_thinned_by_default(root: Path, files: dict[str, bytes]) -> None:
    """Repeated images within and across the splits that came with the data: only training loses some."""
    files["validation/dog/0.png"] = files["validation/dog/1.png"] = files["test/dog/0.png"]
    files["test/dog/1.png"] = files["train/dog/0.png"] = files["train/dog/1.png"] = files["test/dog/0.png"]
    write_tree(root / "tiny", files)
    write_tree(root / "more", {path: data for path, data in files.items() if "train" not in path})
    pack = prepared(configured(root, "tiny", "more"))
    assert {row.path for row in pack.where(status="duplicate")} == {"train/dog/0.png", "train/dog/1.png"}
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        for name in ("default", "balanced", "official", "fer2013_governs", "fresh"):
            assert compose("prepare", ["data=fer2013_fed", f"merge={name}"]).merge.thin == ["train"]


def test_official_splits_are_never_thinned(root: Path, files: dict[str, bytes]) -> None:
    files["validation/dog/0.png"] = files["validation/dog/1.png"] = files["test/dog/0.png"]
    files["test/dog/1.png"] = files["train/dog/0.png"] = files["test/dog/0.png"]
    files["train/cat/1.png"] = files["train/cat/0.png"]
    write_tree(root / "tiny", files)
    pack = prepared(configured(root, "tiny", **OFFICIAL))
    assert {row.path for row in pack.where(status="duplicate")} == {"train/dog/0.png", "train/cat/1.png"}
    assert np.bincount(pack.splits).tolist() == [6, 4, 4]


def test_no_image_of_validation_or_test_is_in_training(root: Path, files: dict[str, bytes]) -> None:
    rng = np.random.default_rng(0)
    for path in list(files):
        files[path] = png(int(rng.integers(0, 9)))
    for name in CLASSES:
        files[f"train/{name}/own.png"] = png(1000 + len(files))
    write_tree(root / "tiny", files)
    write_tree(root / "tiny2", {path: data for path, data in files.items() if rng.random() < 0.7})
    pack = prepared(configured(root, "tiny", "tiny2", **OFFICIAL))
    samples = [image.tobytes() for image in pack.images]
    training = {sample for sample, split in zip(samples, pack.splits, strict=True) if split == 0}
    assert not training & {sample for sample, split in zip(samples, pack.splits, strict=True) if split}
    assert len(training) == (pack.splits == 0).sum()


def test_source_priority_decides_between_twins(root: Path, files: dict[str, bytes]) -> None:
    for name in ("first", "second"):
        write_tree(root / name, files)
    for priority in (["first", "second"], ["second", "first"]):
        pack = prepared(configured(root, "first", "second", source_priority=priority, **THIN_ALL))
        assert {row.source for row in pack.rows if row.packed} == {priority[0]}


def test_protected_split_goes_before_source_priority(root: Path, files: dict[str, bytes]) -> None:
    write_tree(root / "first", files)
    write_tree(root / "second", {"test/cat/x.png": files["train/cat/0.png"]})
    pack = prepared(configured(root, "first", "second"))
    assert pack.by_id["first:train/cat/0.png"].duplicate_of == "second:test/cat/x.png"


@pytest.mark.parametrize("priority", [["tiny", "other"], ["tiny"], ["tiny", "tiny", "tiny2"], []])
def test_wrong_priority(root: Path, files: dict[str, bytes], priority: list[str]) -> None:
    with pytest.raises(UserError, match=r"merge\.source_priority: must name each source once \(tiny, tiny2\)"):
        prepare(configured(root, "tiny", "tiny2", source_priority=priority))


def test_label_conflict_is_named(root: Path, files: dict[str, bytes]) -> None:
    files["train/dog/0.png"] = files["test/cat/0.png"]
    write_tree(root / "tiny", files)
    row = prepared(configured(root, "tiny")).by_id["tiny:train/dog/0.png"]
    assert row.reason == "duplicate of tiny:test/cat/0.png in test; labels differ: dog here, cat there"


def test_same_content_with_the_sources_in_another_order(root: Path, files: dict[str, bytes]) -> None:
    write_tree(root / "a", files | files_of({"train": 9}, first=50))
    write_tree(root / "b", files | files_of({"train": 9}, first=200))
    policy = {
        "source_priority": ["b", "a"],
        "validation": {"fraction": 0.3, "when": "always"},
        "balance": {"target": 20},
        **THIN_ALL,
    }
    forth, back = (prepared(configured(root, *order, **policy)) for order in (["a", "b"], ["b", "a"]))
    assert forth.json["content_hash"] == back.json["content_hash"]
    assert forth.folder == back.folder
    own = prepared(configured(root, "a", "b", **(policy | {"source_priority": None})))
    assert own.json["content_hash"] != back.json["content_hash"]


def test_split_map_and_drawn_validation(root: Path) -> None:
    write_tree(root / "tiny", files_of({"train": 20, "validation": 3, "test": 2}))
    split_map = {"train": "train", "validation": "test", "test": "test"}
    pack = prepared(configured(root, "tiny", split_map=split_map, validation={"fraction": 0.2, "when": "always"}))
    assert Counter((row.original_split, row.split, row.label) for row in pack.rows) == {
        (original, split, label): number
        for original, split, number in [
            ("train", "train", 16),
            ("train", "validation", 4),
            ("validation", "test", 3),
            ("test", "test", 2),
        ]
        for label in CLASSES
    }


def test_drawn_validation_leaves_the_official_one_alone_if_only_missing_ones_are_drawn(root: Path) -> None:
    write_tree(root / "tiny", files_of({"train": 20, "validation": 3, "test": 2}))
    pack = prepared(configured(root, "tiny", validation={"fraction": 0.2, "when": "missing"}))
    assert {row.original_split for row in pack.where(split="validation")} == {"validation"}


def test_seed_and_stability_of_the_drawing(root: Path) -> None:
    def drawn(seed: int) -> set[str]:
        config = configured(root, "tiny", validation={"fraction": 0.25, "seed": seed})
        return {row.path for row in prepared(config).where(split="validation")}

    write_tree(root / "tiny", files_of({"train": 20, "test": 1}))
    before = drawn(0)
    assert before != drawn(1)
    # Another image of the other class changes nothing for the cats.
    write_tree(root / "tiny", {"train/dog/new.png": png(999)})
    assert {path for path in before if "cat" in path} == {path for path in drawn(0) if "cat" in path}


def test_groups_are_drawn_whole(root: Path) -> None:
    files = files_of({"train": 20, "test": 1})
    copies = {path.replace(".png", "_copy.png"): data for path, data in files.items() if path.startswith("train")}
    write_tree(root / "tiny", files | copies)
    pack = prepared(configured(root, "tiny", thin=[], validation={"fraction": 0.3}))
    assert np.bincount(pack.splits).tolist() == [56, 24, 2]
    splits: dict[str, set[str]] = {}
    for row in pack.rows:
        splits.setdefault(row.group, set()).add(row.split)
    assert all(len(members) == 1 for members in splits.values())


@pytest.mark.parametrize(
    ("repeats", "dropped"), [("one", {"copy_of_test", "copy_of_train"}), ("all", {"copy_of_test"})]
)
def test_repeats_within_training_may_stay(root: Path, files: dict[str, bytes], repeats: str, dropped: set[str]) -> None:
    copies = {
        "train/cat/copy_of_train.png": files["train/cat/0.png"],
        "train/dog/copy_of_test.png": files["test/dog/0.png"],
        "train/dog/copy_of_validation.png": files["validation/dog/0.png"],
    }
    write_tree(root / "tiny", files | copies)
    pack = prepared(configured(root, "tiny", repeats=repeats, **OFFICIAL))
    gone = {Path(row.path).stem for row in pack.rows if not row.packed}
    assert gone == dropped | {"copy_of_validation"}
    splits: dict[str, set[str]] = {}
    for row in pack.rows:
        if row.packed:
            splits.setdefault(row.pixels_sha256, set()).add(row.split)
    assert all(len(members) == 1 for members in splits.values())


@pytest.mark.parametrize(("missing", "split"), [("validation", "validation"), ("test", "test")])
def test_split_without_an_image(root: Path, missing: str, split: str) -> None:
    write_tree(root / "tiny", files_of({name: 2 for name in SPLITS if name != missing}))
    with pytest.raises(UserError, match=f"the {split} split is empty"):
        prepare(configured(root, "tiny"))


def test_class_without_a_training_image(root: Path, files: dict[str, bytes]) -> None:
    write_tree(root / "tiny", {path: data for path, data in files.items() if not path.startswith("train/dog")})
    with pytest.raises(UserError, match="class 'dog' has no training image"):
        prepare(configured(root, "tiny"))


def test_copies_are_made_only_of_training_images(root: Path) -> None:
    files = files_of({"train": 10, "test": 3})
    del files["train/dog/9.png"]
    write_tree(root / "tiny", files)
    pack = prepared(configured(root, "tiny", validation={"fraction": 0.3}, balance={"target": 12}))
    assert Counter(row.label for row in pack.rows if row.split == "train") == dict.fromkeys(CLASSES, 12)
    assert len(pack.where(split="validation")) == 6
    copies = pack.where(status="made")
    for row in copies:
        parent = pack.by_id[row.parent]
        assert (parent.status, parent.split, row.split) == ("kept", "train", "train")
        assert (row.label, row.group) == (parent.label, parent.group)
        assert (pack.images[row.pack_row] != pack.images[parent.pack_row]).any()
    per_parent = Counter(row.parent for row in copies)
    assert max(per_parent.values()) - min(per_parent.values()) <= 1
    assert len({row.id for row in pack.rows}) == len(pack.rows)
    assert all(row.parent == "" for row in pack.rows if row.status != "made")


def test_trim(root: Path) -> None:
    write_tree(root / "tiny", files_of({"train": 10, "validation": 6, "test": 6}))
    kept = prepared(configured(root, "tiny", balance={"target": 4}))
    assert np.bincount(kept.splits).tolist() == [20, 12, 12]
    pack = prepared(configured(root, "tiny", balance={"target": 4, "trim": True}))
    assert np.bincount(pack.splits).tolist() == [8, 12, 12]
    trimmed = pack.where(status="trimmed")
    assert len(trimmed) == 12
    assert {row.original_split for row in trimmed} == {"train"}
    assert not pack.where(status="made")
    other = prepared(configured(root, "tiny", balance={"target": 4, "trim": True, "seed": 1}))
    assert {row.id for row in trimmed} != {row.id for row in other.where(status="trimmed")}


def test_a_warp_of_nothing_is_the_image_itself(root: Path) -> None:
    write_tree(root / "tiny", files_of(SPLITS))
    still = {"target": 9, "rotation": 0, "shift": 0, "zoom": 0, "flip": False}
    pack = prepared(configured(root, "tiny", balance=still))
    for row in pack.where(status="made"):
        parent = pack.by_id[row.parent]
        np.testing.assert_array_equal(pack.images[row.pack_row], pack.images[parent.pack_row])


def test_colour_and_size(root: Path) -> None:
    files = {path: encoded(pixels(i, 20, channels=3)) for i, path in enumerate(files_of(SPLITS))}
    write_tree(root / "tiny", files)
    pack = prepared(configured(root, "tiny", data={"image_size": 20, "channels": 3}, balance={"target": 6}))
    assert pack.images.shape == (20, 20, 20, 3)
    row = pack.by_id["tiny:train/cat/0.png"]
    np.testing.assert_array_equal(pack.images[row.pack_row], pixels(0, 20, channels=3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"duplicates": "vague"},
            r"merge\.duplicates: must be one of none, bytes, pixels, near, mirrored, augmented, auto, got vague",
        ),
        ({"repeats": "some"}, r"merge\.repeats: must be one of one, all"),
        ({"thin": ["tests"]}, r"merge\.thin: must be one of train, validation, test"),
        ({"split_precedence": ["test"]}, r"merge\.split_precedence: must name each split once"),
        ({"split_map": {"train": "train", "validation": "x", "test": "test"}}, r"merge\.split_map: must be one of"),
        ({"validation": {"fraction": 1}}, r"merge\.validation\.fraction"),
        ({"validation": {"when": "never"}}, r"merge\.validation\.when"),
        ({"balance": {"target": 0}}, r"merge\.balance\.target"),
        ({"balance": {"target": "many"}}, r"merge\.balance\.target"),
        ({"blend": 1}, r"merge.*blend"),
        ({"data": {"channels": 2}}, r"data\.channels"),
        ({"data": {"image_size": 0}}, r"data\.image_size"),
        ({"data": {"sources": {}}}, r"data\.sources"),
        ({"data": {"classes": []}}, r"data\.classes"),
    ],
)
def test_wrong_options(root: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare(configured(root, "tiny", **options))


def test_repeated_preparation_is_the_same(root: Path, files: dict[str, bytes]) -> None:
    write_tree(root / "tiny", files)
    config = configured(root, "tiny", balance={"target": 9})
    once = prepared(config)
    config.data.pack_dir += "_again"
    twice: Pack = prepared(config)
    assert once.folder.name == twice.folder.name
    for name in ("images.npy", "labels.npy", "splits.npy", "manifest.csv", "pack.json"):
        assert (once.folder / name).read_bytes() == (twice.folder / name).read_bytes()
