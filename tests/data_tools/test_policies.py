"""What the merge does with labels in conflict, blank images, weights, governing sources and unbalanced classes."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from drawn import CLASSES, Pack, configured, encoded, files_of, photograph, pixels, png, prepared, turned, write_tree
from hydra import compose, initialize_config_dir
from sklearn.utils.class_weight import compute_class_weight

from data_tools.config import DrawConfig, MergeConfig, load
from data_tools.duplicates.assign import Grouping
from data_tools.merging.merge import merge
from data_tools.prepare import prepare
from data_tools.reading.manifest import Row
from data_tools.reading.read import Collection
from foundation.config import config_dir
from foundation.errors import UserError

SPLITS = {"train": 6, "validation": 2, "test": 2}


@pytest.fixture
def files() -> dict[str, bytes]:
    return files_of(SPLITS)


# --- The authoritative source ------------------------------------------------------------------------------------


def test_copies_follow_the_governing_source(root: Path, files: dict[str, bytes]) -> None:
    """The other source has the governing one's images under other splits, and two of its own."""
    moved = {
        "test/cat/a.png": files["train/cat/0.png"],
        "train/cat/b.png": files["test/cat/0.png"],
        "train/dog/c.png": files["validation/dog/0.png"],
        "train/dog/own.png": png(900),
        "test/dog/own.png": png(901),
    }
    write_tree(root / "main", files)
    write_tree(root / "other", moved)
    pack = prepared(configured(root, "other", "main", governs="main"))
    assert {row.path: row.split for row in pack.rows if row.source == "main"} == {
        path: path.split("/")[0] for path in files
    }
    others = {row.path: row for row in pack.rows if row.source == "other"}
    assert {path: row.split for path, row in others.items()} == {
        "test/cat/a.png": "", "train/cat/b.png": "", "train/dog/c.png": "",
        "train/dog/own.png": "train", "test/dog/own.png": "test",
    }  # fmt: skip
    assert others["test/cat/a.png"].duplicate_of == "main:train/cat/0.png"
    without = prepared(configured(root, "other", "main"))
    assert without.by_id["main:train/cat/0.png"].duplicate_of == "other:test/cat/a.png"


def test_official_evaluation_splits_stay_whole_while_training_is_thinned(root: Path, files: dict[str, bytes]) -> None:
    files["train/cat/1.png"] = files["validation/cat/0.png"] = files["test/cat/0.png"]
    write_tree(root / "main", files)
    write_tree(root / "other", {"test/cat/again.png": files["test/cat/0.png"]})
    pack = prepared(configured(root, "main", "other", governs="main", thin=["train"]))
    assert {row.id for row in pack.where(status="duplicate")} == {"main:train/cat/1.png", "other:test/cat/again.png"}
    assert np.bincount(pack.splits).tolist() == [11, 4, 4]


def test_warped_copies_follow_too(root: Path) -> None:
    """At the level `augmented` a turned, mirrored copy of a test image leaves training."""
    size = {"image_size": 48}
    own = {f"{split}/{name}/{n}.png": encoded(photograph(100 * place + n))
           for place, (split, name) in enumerate((s, c) for s in SPLITS for c in CLASSES)
           for n in range(3)}  # fmt: skip
    seen = photograph(400)  # test/cat/0.png
    write_tree(root / "main", own)
    write_tree(root / "other", {"train/cat/warped.png": encoded(turned(seen[:, ::-1], 14, 1.1, 2))})
    level = {"duplicates": "augmented", "governs": "main", "thin": ["train"]}
    pack = prepared(configured(root, "main", "other", data=size, **level))
    assert pack.by_id["other:train/cat/warped.png"].duplicate_of == "main:test/cat/0.png"
    leaky = prepared(configured(root, "main", "other", data=size, duplicates="pixels"))
    assert leaky.by_id["other:train/cat/warped.png"].split == "train"
    assert leaky.json["content_hash"] != pack.json["content_hash"]


@pytest.mark.parametrize("level", ["pixels", "augmented"])
def test_order_of_sources_and_workers_leave_the_pack_as_it_is(root: Path, level: str) -> None:
    samples = {f"{split}/{name}/{n}.png": photograph(100 * place + n)
                for place, (split, name) in enumerate((s, c) for s in SPLITS for c in CLASSES)
                for n in range(3)}  # fmt: skip
    write_tree(root / "a", {path: encoded(image) for path, image in samples.items()})
    write_tree(root / "b", {path: encoded(turned(image, 10)) for path, image in samples.items()})
    policy = {"source_priority": ["b", "a"], "duplicates": level, "thin": ["train", "validation", "test"]}
    packs = [
        prepared(configured(root, *order, data={"image_size": 48, "workers": workers}, **policy))
        for order, workers in ((["a", "b"], 1), (["b", "a"], 4))
    ]
    assert packs[0].json["content_hash"] == packs[1].json["content_hash"]
    assert len(packs[0].images) == (36 if level == "pixels" else 18)


# --- Labels in conflict ------------------------------------------------------------------------------------------


def conflicting(root: Path, files: dict[str, bytes], **policy: object) -> Pack:
    """One image that `first` calls cat and `second` calls dog twice, all in training."""
    sample = png(500)
    write_tree(root / "first", files | {"train/cat/x.png": sample})
    write_tree(root / "second", {"train/dog/x.png": sample, "train/dog/y.png": png(500, compress_level=0)})
    return prepared(configured(root, "first", "second", **policy))


@pytest.mark.parametrize(
    ("policy", "label"),
    [
        ({"conflicts": "keep"}, "cat"),
        ({"conflicts": "prefer", "prefer": "second"}, "dog"),
        ({"conflicts": "prefer", "prefer": "first"}, "cat"),
        ({"conflicts": "majority"}, "dog"),
        ({"conflicts": "drop"}, None),
    ],
)
def test_rules(root: Path, files: dict[str, bytes], policy: dict, label: str | None) -> None:
    pack = conflicting(root, files, **policy)
    row = pack.by_id["first:train/cat/x.png"]
    if label is None:
        assert (row.status, row.split) == ("dropped", "")
        assert row.reason == "labels in conflict: cat 1, dog 2"
    else:
        assert (row.status, row.label, row.raw_label) == ("kept", label, "cat")
        assert CLASSES[pack.labels[row.pack_row]] == label
        assert row.reason == (f"relabelled from cat by merge.conflicts={policy['conflicts']}: cat 1, dog 2"
                              if label == "dog" else "")  # fmt: skip


def test_what_the_preferred_source_contradicts_itself_about_is_dropped(root: Path, files: dict[str, bytes]) -> None:
    sample = png(500)
    write_tree(root / "tiny", files | {"train/cat/x.png": sample, "train/dog/x.png": sample})
    pack = prepared(configured(root, "tiny", conflicts="prefer", prefer="tiny"))
    assert pack.by_id["tiny:train/cat/x.png"].status == "dropped"
    tied = prepared(configured(root, "tiny", conflicts="majority"))
    assert tied.by_id["tiny:train/cat/x.png"].status == "dropped"


def test_evaluation_images_keep_their_label(root: Path, files: dict[str, bytes]) -> None:
    write_tree(root / "tiny", files | {"train/dog/x.png": files["test/cat/0.png"]})
    for rule in ("drop", "majority"):
        row = prepared(configured(root, "tiny", conflicts=rule)).by_id["tiny:test/cat/0.png"]
        assert (row.status, row.label, row.split) == ("kept", "cat", "test")


def test_the_reason_counts_the_labels_that_the_sources_gave(root: Path, files: dict[str, bytes]) -> None:
    """Where the training split is not thinned, several images of one group are relabelled."""
    copies = {f"train/{name}/x{n}.png": png(500, compress_level=n)
              for name, n in (("cat", 0), ("cat", 1), ("dog", 2), ("dog", 3), ("dog", 4))}  # fmt: skip
    write_tree(root / "tiny", files | copies)
    pack = prepared(configured(root, "tiny", conflicts="majority", thin=[]))
    for n in range(2):
        row = pack.by_id[f"tiny:train/cat/x{n}.png"]
        assert row.reason == "relabelled from cat by merge.conflicts=majority: cat 2, dog 3"


# --- Duplicates that grouping does not chain together -------------------------------------------------------------


@pytest.mark.parametrize("within_split", [False, True])
@pytest.mark.parametrize("drawn", [False, True])
def test_loose_pairs_do_not_end_up_in_training_and_elsewhere(drawn: bool, within_split: bool) -> None:
    """20 pairs, each of two groups: half of a pair is given to validation, or may be drawn into it."""
    first, second = [f"s:{n:02}a" for n in range(20)], [f"s:{n:02}b" for n in range(20)]
    ids = [*first, *second, "s:test"]
    rows = [Row(name, "s", name, "train", CLASSES[at % 2], CLASSES[at % 2]) for at, name in enumerate(ids)]
    rows[-1].original_split = "test"
    if not drawn:
        for row in rows[:10]:
            row.original_split = "validation"
    collection = Collection(rows, {name: pixels(at)[..., None] for at, name in enumerate(ids)})
    groups = {"augmented": {name: name for name in ids}}
    grouping = Grouping(groups, {"augmented": list(zip(first, second, strict=True))})
    config = MergeConfig(["s"], "augmented", within_split=within_split, validation=DrawConfig(0.5))
    merge(collection, grouping, config, CLASSES)
    splits = {row.id: row.split for row in collection.rows}
    parted = [pair for pair in zip(first, second, strict=True) if {splits[n] for n in pair} == {"train", "validation"}]
    assert bool(parted) == within_split
    assert sum(split == "validation" for split in splits.values()) >= 10
    left = [row for row in collection.rows if row.status == "duplicate"]
    assert bool(left) != within_split
    assert all(splits[row.duplicate_of] == "validation" for row in left)


# --- Blank images, class maps, weights ---------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "left"), [("keep", []), ("train", ["train"]), ("all", ["test", "train"])])
def test_blank(root: Path, files: dict[str, bytes], rule: str, left: list[str]) -> None:
    for split, grey in (("train", 7), ("test", 9)):
        files[f"{split}/cat/blank.png"] = encoded(np.full((8, 8), grey, np.uint8))
    write_tree(root / "tiny", files)
    pack = prepared(configured(root, "tiny", blank=rule))
    assert sorted(row.original_split for row in pack.where(status="dropped")) == left
    assert all(row.reason.startswith("blank") for row in pack.where(status="dropped"))


def test_class_map_of_one_source(root: Path, files: dict[str, bytes]) -> None:
    write_tree(root / "first", files | {"train/wolf/1.png": png(700)})
    write_tree(root / "second", {"train/wolf/1.png": png(701)})
    pack = prepared(configured(root, "first", "second", class_maps={"second": {"wolf": "dog"}}))
    assert pack.by_id["second:train/wolf/1.png"].label == "dog"
    assert pack.by_id["first:train/wolf/1.png"].status == "set_aside"


@pytest.mark.parametrize(("weight", "number"), [(0.0, 0), (0.5, 5), (1.0, 10), (1.5, 15), (3.0, 30)])
def test_weight_of_a_source(root: Path, files: dict[str, bytes], weight: float, number: int) -> None:
    write_tree(root / "first", files)
    write_tree(root / "second", files_of({"train": 10, "test": 3}, first=300))
    pack = prepared(configured(root, "first", "second", weights={"second": weight}))
    counts = Counter((row.source, row.split, row.label) for row in pack.rows if row.packed)
    for name in CLASSES:
        assert counts["second", "train", name] == number
        assert counts["first", "train", name] == 6
        assert counts["second", "test", name] == 3
    given = Counter(row.status for row in pack.rows if row.source == "second" and row.status != "made")
    assert sum(given.values()) == 26
    for row in pack.where(status="made"):
        np.testing.assert_array_equal(pack.images[row.pack_row], pack.images[pack.by_id[row.parent].pack_row])


def test_a_class_that_the_weights_take_out_of_training(root: Path, files: dict[str, bytes]) -> None:
    write_tree(root / "first", {path: data for path, data in files.items() if "train/dog" not in path})
    write_tree(root / "second", {"train/dog/x.png": png(700), "train/dog/y.png": png(701)})
    with pytest.raises(UserError, match="class 'dog' has no training image"):
        prepare(configured(root, "first", "second", weights={"second": 0.0}))


# --- Balance -----------------------------------------------------------------------------------------------------


def unbalanced(root: Path, **balance: object) -> Pack:
    files = files_of({"train": 8, "validation": 2, "test": 2})
    for number in range(3, 8):
        del files[f"train/dog/{number}.png"]
    write_tree(root / "tiny", files)
    return prepared(configured(root, "tiny", balance=balance))


@pytest.mark.parametrize(
    ("balance", "cats", "dogs"),
    [
        ({"method": "none", "target": 9}, 8, 3),
        ({"method": "class_weight"}, 8, 3),
        ({"method": "oversample"}, 8, 8),
        ({"method": "oversample", "target": 10}, 10, 10),
        ({"method": "undersample"}, 3, 3),
        ({"method": "undersample", "target": 5}, 5, 3),
        ({"method": "augment_to", "target": 6}, 8, 6),
        ({"method": "augment_to", "target": 6, "trim": True}, 6, 6),
    ],
)
def test_methods(root: Path, balance: dict, cats: int, dogs: int) -> None:
    pack = unbalanced(root, **balance)
    trained = Counter(row.label for row in pack.rows if row.split == "train")
    assert trained == {"cat": cats, "dog": dogs}
    assert np.bincount(pack.splits)[1:].tolist() == [4, 4]
    if balance["method"] == "oversample":
        for row in pack.where(status="made"):
            np.testing.assert_array_equal(pack.images[row.pack_row], pack.images[pack.by_id[row.parent].pack_row])


def test_class_weights_are_scikit_learns(root: Path) -> None:
    pack = unbalanced(root, method="class_weight")
    labels = pack.labels[pack.splits == 0]
    expected = compute_class_weight("balanced", classes=np.arange(2), y=labels)
    assert list(pack.json["class_weights"].values()) == pytest.approx(expected.tolist())
    assert unbalanced(root).json["class_weights"] is None


# --- The recipe that leaks ---------------------------------------------------------------------------------------


def test_as_published_leaks_as_it_says(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Equal files stay across train and test, and copies of one parent sit on both sides of validation."""
    files = files_of({"train": 20, "test": 4})
    files["train/cat/again.png"] = files["train/cat/0.png"]
    files["train/cat/leak.png"] = files["test/cat/0.png"]
    write_tree(root / "tiny", files)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        merge = compose("prepare", ["merge=as_published", "data=fed"]).merge
    merge.balance.target = 40
    config = configured(root, "tiny")
    config.merge = merge
    pack = prepared(config)
    assert {row.path for row in pack.where(status="duplicate")} == {"train/cat/again.png"}
    assert np.bincount(pack.splits).tolist() == [64, 16, 8]
    parents: dict[str, set[str]] = {}
    for row in pack.rows:
        if row.packed:
            parents.setdefault(row.parent or row.id, set()).add(row.split)
    assert sum({"train", "validation"} <= splits for splits in parents.values()) > 5
    said = capsys.readouterr().out
    assert "This merge LEAKS" in said
    assert "This option leaks: within_split" in said
    assert "This merge leaks" in (pack.folder / "audit.html").read_text()


# --- Options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"governs": "nobody"}, r"merge\.governs: must be one of tiny, got nobody"),
        ({"conflicts": "fight"}, r"merge\.conflicts: must be one of keep, prefer, drop, majority"),
        ({"conflicts": "prefer"}, r"merge\.prefer: must name a source"),
        ({"blank": "white"}, r"merge\.blank: must be one of"),
        ({"class_maps": {"nobody": {"a": "cat"}}}, r"merge\.class_maps: must be one of tiny"),
        ({"class_maps": {"tiny": {"a": "cow"}}}, r"'cow' is no class"),
        ({"weights": {"tiny": -1}}, r"merge\.weights\.tiny: must be 0 or more"),
        ({"weights": {"tiny": float("nan")}}, r"merge\.weights\.tiny: must be 0 or more"),
        ({"balance": {"method": "magic"}}, r"merge\.balance\.method: must be one of none, class_weight"),
        ({"twins": {"detail": 1.5}}, r"merge\.twins\.detail: must be above 0 and at most 1"),
        ({"twins": {"neighbours": 0}}, r"merge\.twins\.neighbours: must be positive"),
        ({"twins": {"strangers": -0.1}}, r"merge\.twins\.strangers: must be 0 or more"),
        ({"guards": {"group": 0}}, r"merge\.guards\.group: must be above 0 and at most 1"),
        ({"guards": {"lost": 1.5}}, r"merge\.guards\.lost: must be above 0 and at most 1"),
        ({"guards": {"at_least": -1}}, r"merge\.guards\.at_least: must be 0 or more"),
        ({"twins": {"near_shift": -1}}, r"merge\.twins\.near_shift: must be 0 or more"),
        ({"data": {"audit": "none"}}, r"data\.audit: must be one of bytes"),
        ({"data": {"workers": 0}}, r"data\.workers: must be positive"),
    ],
)
def test_wrong_options(root: Path, files: dict[str, bytes], options: dict, message: str) -> None:
    write_tree(root / "tiny", files)
    with pytest.raises(UserError, match=message):
        prepare(configured(root, "tiny", **options))


@pytest.mark.parametrize("name", ["default", "balanced", "official", "fer2013_governs", "fresh", "predecessor_sizes"])
def test_no_shipped_policy_leaks_but_the_one_that_says_so(name: str) -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        _, merge = load(compose("prepare", ["data=fer2013_fed", f"merge={name}"]))
    assert merge.duplicates == "augmented"
    assert not any((merge.within_split, merge.test.by_image, merge.validation.by_image))
    assert not merge.balance.before_validation
    assert "train" in merge.thin


def test_colour_images_take_part(root: Path) -> None:
    files = {path: encoded(pixels(i, 20, channels=3)) for i, path in enumerate(files_of(SPLITS))}
    write_tree(root / "tiny", files)
    pack = prepared(configured(root, "tiny", duplicates="augmented", data={"image_size": 20, "channels": 3}))
    assert all(len(row.perceptual_hash) == 16 for row in pack.rows)
    assert len(pack.images) == 20
