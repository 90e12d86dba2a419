"""The audit's numbers against sets worked out by hand, and its page: one file that escapes what people wrote."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from drawn import configured, encoded, files_of, photograph, png, prepared, turned, write_tree

from data_tools.audit import audit
from foundation.files import read_json

SIZE = {"image_size": 48, "audit": "augmented"}


@pytest.fixture
def two(root: Path) -> Path:
    """Source a: three images of its own a split and class. Source b: one copy of each kind of a's images."""
    samples = {f"{split}/{name}/{n}.png": photograph(100 * place + n)
                for place, (split, name) in enumerate((s, c) for s in ("train", "validation", "test")
                                                      for c in ("cat", "dog"))
                for n in range(3)}  # fmt: skip
    files = {path: encoded(image) for path, image in samples.items()}
    write_tree(root / "a", files)
    write_tree(root / "b", {
        "train/cat/bytes.png": files["test/cat/0.png"],
        "train/dog/pixels.png": encoded(samples["test/cat/1.png"], compress_level=0),
        "train/cat/near.jpg": encoded(samples["validation/cat/0.png"], "jpeg", quality=70),
        "train/cat/mirrored.png": encoded(samples["test/cat/2.png"][:, ::-1].copy()),
        "train/cat/turned.png": encoded(turned(samples["validation/dog/1.png"], 15)),
        "train/cat/alone.png": encoded(photograph(9000)),
    })  # fmt: skip
    return root


def test_numbers(two: Path, tmp_path: Path) -> None:
    config = configured(two, "a", "b", data=SIZE, duplicates="augmented", governs="a", thin=["train"])
    audit(config, tmp_path / "out")
    found = read_json(tmp_path / "out" / "audit.json")
    # Each level has one more pair than the one before; those of the pixels and of the turned copy differ in label.
    assert found["levels"] == {
        level: {
            "groups": number, "images": 2 * number, "redundant": number, "conflicting": labels, "cross_split": number,
        }
        for level, number, labels in (
            ("bytes", 1, 0), ("pixels", 2, 1), ("near", 3, 1), ("mirrored", 4, 1), ("augmented", 5, 2),
        )
    }  # fmt: skip
    assert found["twins"] == {
        "level": "augmented",
        "before": {"validation": 2, "test": 3},
        "after": {"validation": 0, "test": 0},
    }
    assert found["twins_before_by_level"]["pixels"] == {"validation": 0, "test": 2}
    assert found["overlap"]["augmented"] == {
        "a test": {"b train": 3}, "a validation": {"b train": 2}, "b train": {"a test": 3, "a validation": 2},
    }  # fmt: skip
    assert found["input"]["images"] == 24
    assert found["input"]["counts"]["b"] == {"train": {"cat": 5, "dog": 1}}
    assert found["result"]["statuses"] == {"duplicate": 5, "kept": 19}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["audit.html", "audit.json", "keep.csv"]


def test_levels_count_before_any_policy(two: Path, tmp_path: Path) -> None:
    numbers = []
    for place, policy in enumerate(({"duplicates": "none"}, {"duplicates": "augmented", "conflicts": "drop"})):
        audit(configured(two, "a", "b", data=SIZE, **policy), tmp_path / str(place))
        numbers.append(read_json(tmp_path / str(place) / "audit.json"))
    assert numbers[0]["levels"] == numbers[1]["levels"]
    assert numbers[0]["twins"]["before"] == numbers[1]["twins"]["before"] == numbers[0]["twins"]["after"]
    assert "This merge leaks" in (tmp_path / "0" / "audit.html").read_text()
    assert "This merge leaks" not in (tmp_path / "1" / "audit.html").read_text()


def test_made_copies_count_with_their_parents(two: Path, tmp_path: Path) -> None:
    audit(configured(two, "a", "b", data=SIZE, duplicates="none", balance={"target": 30}), tmp_path)
    assert read_json(tmp_path / "audit.json")["twins"]["after"] == {"validation": 2, "test": 3}


def test_prepare_writes_the_same_beside_the_pack(two: Path, tmp_path: Path) -> None:
    config = configured(two, "a", "b", data=SIZE, duplicates="augmented")
    pack = prepared(config)
    audit(config, tmp_path)
    for name in ("audit.json", "audit.html"):
        assert (pack.folder / name).read_bytes() == (tmp_path / name).read_bytes()


def test_only_some_levels(two: Path, tmp_path: Path) -> None:
    audit(configured(two, "a", "b", data=SIZE | {"audit": "pixels"}), tmp_path)
    found = read_json(tmp_path / "audit.json")
    assert list(found["levels"]) == ["bytes", "pixels"]
    assert found["twins"]["before"] == {"validation": 0, "test": 2}


def test_the_page_is_one_file_and_escapes_names(root: Path, tmp_path: Path) -> None:
    files = files_of({"train": 3, "validation": 1, "test": 1})
    hostile = "<script>alert(1)</script>&.png"
    files[f"train/cat/{hostile.replace('/', '_')}"] = png(1)[:30]
    files["train/<b>dog/x.png"] = png(2000)
    write_tree(root / "tiny", files)
    page = audit(configured(root, "tiny"), tmp_path).read_text()
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "default-src 'none'" in page
    found = read_json(tmp_path / "audit.json")
    assert sum(found["input"]["set_aside"].values()) == 2


def test_the_page_of_a_merge_has_no_raw_python_and_keep_csv_its_images(two: Path, tmp_path: Path) -> None:
    config = configured(two, "a", "b", data=SIZE, duplicates="augmented", balance={"target": 12}, thin=["train"])
    page = audit(config, tmp_path).read_text()
    text = re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)
    assert not re.search(r"\[\]|\{\}|\['|\{'|None|True|False|photograph", text)
    assert "After the merge no validation or test image was found to have a duplicate in training." in text
    with (tmp_path / "keep.csv").open(newline="") as file:
        kept = {(row["source"], row["path"]): row["keep"] for row in csv.DictReader(file)}
    assert len(kept) == 24
    assert {path for (source, path), keep in kept.items() if keep == "yes" and source == "b"} == {"train/cat/alone.png"}


def test_command(two: Path) -> None:
    project = Path(__file__).resolve().parents[2]
    (two / "a").rename(two / "fed")
    place = two.parent / "here"
    place.mkdir()
    arguments = ["data=fed", "data.classes=[cat,dog]", f"data.root={two}", "hydra.run.dir=out"]
    command = [sys.executable, "-m", "data_tools.audit", *arguments]
    environment = os.environ | {"PYTHONPATH": str(project)}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Duplicates in the input" in done.stdout
    assert {path.name for path in (place / "out").iterdir()} == {".hydra", "audit.html", "audit.json", "keep.csv"}
    assert {path.name for path in place.iterdir()} == {"out", "packs"}
    assert list((place / "packs").iterdir()) == []
