"""`data_tools.audit path=...`: any folder, archive or table, with or without labels; exit status, keep.csv, page."""

import csv
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from drawn import encoded, files_of, photograph, pixels, png, write_tar, write_tree, write_zip
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from sklearn.datasets import load_digits

from data_tools.audit import arguments, run
from data_tools.auditing.checks import NAMES, checks, failed, verdict
from foundation.config import config_dir
from foundation.errors import UserError
from foundation.files import read_json

PROJECT = Path(__file__).resolve().parents[2]
CLEAN = files_of({"train": 3, "test": 2})


def audited(folder: Path, *paths: Path, **options: object) -> dict:
    """The numbers of the audit of `paths`, which must be those of audit.json in `folder`."""
    config = OmegaConf.create({"path": [str(path) for path in paths], "duplicates": "pixels", **options})
    numbers = run(config, folder)
    assert {path.name for path in folder.iterdir()} == {"audit.html", "audit.json", "keep.csv"}
    written = read_json(folder / "audit.json")
    assert written["checks"] == numbers["checks"]
    return written


def kept(folder: Path) -> dict[str, str]:
    """Path -> yes or no, from keep.csv."""
    with (folder / "keep.csv").open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["keep"] for row in csv.DictReader(file)}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


# --- what is found ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["folder", "zip", "tar.gz"])
def test_leaks_conflicts_duplicates_and_damage(tmp_path: Path, container: str) -> None:
    files = (
        CLEAN
        | {
            "train/cat/leak.png": encoded(pixels(6), compress_level=0),  # equal to test/cat/0.png
            "train/cat/wrong.png": png(8, compress_level=0),  # equal to test/dog/0.png
            "train/cat/again.png": CLEAN["train/cat/0.png"],
            "test/dog/again.png": CLEAN["test/dog/1.png"],
            "train/dog/cut.png": png(70)[:50],
            "train/dog/blank.png": encoded(np.full((8, 8), 7, np.uint8)),
        }
    )
    where = tmp_path / ("set" if container == "folder" else f"set.{container}")
    {"folder": write_tree, "zip": write_zip, "tar.gz": write_tar}[container](where, files)
    found = audited(tmp_path / "out", where)
    assert found["checks"] == {"leak": 2, "conflict": 1, "duplicate": 4, "unreadable": 1, "blank": 1, "missing": 0}
    decided = kept(tmp_path / "out")
    assert set(decided) == set(files)
    no = {"train/cat/leak.png", "train/cat/wrong.png", "train/dog/cut.png"}
    # Test images all stay, also equal ones.
    assert {path for path, keep in decided.items() if keep == "no"} - no in (
        {"train/cat/again.png"},
        {"train/cat/0.png"},
    )
    assert verdict(found).startswith("2 of 5 test images (40.0 %) have a duplicate in training")


def test_a_clean_set(tmp_path: Path) -> None:
    write_tree(tmp_path / "set", CLEAN)
    found = audited(tmp_path / "out", tmp_path / "set")
    assert not any(found["checks"].values())
    assert set(kept(tmp_path / "out").values()) == {"yes"}
    assert verdict(found) == "No test image was found in training, and no duplicate was found among 10 images."


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (8, 8), (400, 300)])
def test_without_labels_and_at_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(4)]
    files = {f"IMG {n}.png": encoded(image) for n, image in enumerate(images)}
    write_tree(tmp_path / "flat", files | {"copy.png": encoded(images[0], compress_level=0)})
    found = audited(tmp_path / "out", tmp_path / "flat")
    assert not found["labelled"]
    assert found["checks"] == {"leak": 0, "conflict": 0, "duplicate": 1, "unreadable": 0, "missing": 0,
                               "blank": 5 if size == (1, 1) else 0}  # fmt: skip
    assert sorted(kept(tmp_path / "out").values()) == ["no", "yes", "yes", "yes", "yes"]
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "There are no splits to leak between" in page
    assert "Labels in conflict" not in page
    assert f"{size[1]} × {size[0]} pixels" in page


def test_one_class_and_no_readable_image_but_one(tmp_path: Path) -> None:
    write_tree(tmp_path / "set", {"cat/1.png": png(1), "cat/2.png": png(2)[:40], "cat/3.png": b""})
    found = audited(tmp_path / "out", tmp_path / "set")
    assert (found["input"]["images"], found["checks"]["unreadable"]) == (3, 2)


def test_a_class_with_the_name_of_a_split(tmp_path: Path) -> None:
    write_tree(tmp_path / "vehicles", {f"{name}/{n}.png": png(10 * at + n) for n in range(3)
                                       for at, name in enumerate(("bus", "car", "train"))})  # fmt: skip
    found = audited(tmp_path / "out", tmp_path / "vehicles")
    assert found["input"]["counts"] == {"vehicles": {"": {"bus": 3, "car": 3, "train": 3}}}
    assert found["checks"]["unreadable"] == 0


def test_tables(tmp_path: Path) -> None:
    write_tree(tmp_path / "files", {f"{n}.png": png(n % 3) for n in range(4)})
    lines = ["path,label,split", "files/0.png,cat,train", "files/1.png,dog,train", "files/2.png,cat,test",
             "files/3.png,dog,test"]  # fmt: skip
    (tmp_path / "list.csv").write_text("\n".join(lines))
    found = audited(tmp_path / "out", tmp_path / "list.csv")
    assert (found["checks"]["leak"], found["checks"]["conflict"]) == (1, 1)
    faces = ["emotion,pixels,Usage"]
    faces += [f"{n % 7},{' '.join(map(str, pixels(n % 8, 48).ravel()))},{use}"
              for n, use in ((0, "Training"), (1, "Training"), (8, "PrivateTest"))]  # fmt: skip
    (tmp_path / "faces.csv").write_text("\n".join(faces))
    found = audited(tmp_path / "out2", tmp_path / "faces.csv")
    assert (found["input"]["images"], found["checks"]["leak"]) == (3, 1)


def test_splits_in_folders_of_their_own(tmp_path: Path) -> None:
    files = files_of({"": 2})
    write_tree(tmp_path / "train", files)
    write_tree(tmp_path / "test_images", files_of({"": 2}, first=100) | {"cat/leak.png": files["cat/0.png"]})
    found = audited(tmp_path / "out", tmp_path / "train", tmp_path / "test_images")
    assert found["evaluated"] == {"validation": 0, "test": 5}
    assert found["checks"]["leak"] == 1


def test_several_sources_of_one_name_and_other_case_of_classes(tmp_path: Path) -> None:
    write_tree(tmp_path / "a" / "pets", {"Cat/1.png": png(1), "dog/1.png": png(2)})
    write_tree(tmp_path / "b" / "pets", {"cat/1.png": png(1), "dog/1.png": png(3)})
    found = audited(tmp_path / "out", tmp_path / "a" / "pets", tmp_path / "b" / "pets")
    assert set(found["input"]["counts"]) == {"pets", "pets_2"}
    assert found["checks"]["duplicate"] == 1
    assert found["checks"]["conflict"] == 0  # cat is Cat


def test_a_test_image_in_validation_is_a_leak(tmp_path: Path) -> None:
    files = files_of({"train": 2, "validation": 2, "test": 2})
    write_tree(tmp_path / "set", files | {"validation/cat/t.png": files["test/cat/0.png"]})
    found = audited(tmp_path / "out", tmp_path / "set")
    assert found["checks"]["leak"] == 1
    assert verdict(found) == (
        "No validation or test image was found in training, but 1 of 4 test images (25.0 %) has a duplicate in "
        "validation, by which the epoch is chosen."
    )
    assert "merge=fresh" in next(check for check in checks(found) if check.name == "leak").advice
    write_tree(tmp_path / "set", {"train/cat/t.png": files["test/cat/1.png"]})
    found = audited(tmp_path / "other", tmp_path / "set")
    assert verdict(found).startswith("2 of 9 validation or test images (22.2 %) have a duplicate in training or valid")
    assert "keep.csv" in next(check for check in checks(found) if check.name == "leak").advice


def test_a_class_that_a_split_lacks(tmp_path: Path) -> None:
    files = CLEAN | {"train/eel/1.png": png(80), "test/fox/1.png": png(81)}
    write_tree(tmp_path / "set", files)
    found = audited(tmp_path / "out", tmp_path / "set")
    assert found["without_images"] == {"train": ["fox"], "test": ["eel"]}
    assert found["checks"]["missing"] == 2
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "train lacks fox; test lacks eel" in page


@pytest.mark.parametrize("level", ["bytes", "pixels", "near", "mirrored"])
def test_the_level_can_be_chosen(tmp_path: Path, level: str) -> None:
    image = photograph(1)
    write_tree(tmp_path / "set", {
        **{f"train/cat/{n}.png": encoded(photograph(10 + n)) for n in range(3)},
        "test/cat/bytes.png": encoded(photograph(10)), "test/cat/pixels.png": encoded(photograph(11), compress_level=0),
        "train/cat/near.png": encoded(image), "test/cat/near.jpg": encoded(image, "jpeg", quality=80),
        "test/cat/mirrored.png": encoded(photograph(12)[:, ::-1].copy()),
    })  # fmt: skip
    found = audited(tmp_path / "out", tmp_path / "set", duplicates=level, merge={"twins": {"strangers": 1}})
    assert found["checks"]["leak"] == ["bytes", "pixels", "near", "mirrored"].index(level) + 1
    if level == "pixels":
        assert found["not_looked_for"] == {"levels": ["near", "mirrored", "augmented"], "reason": "duplicates=pixels"}


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["plain", "with space", "a=b", "a,b", "it's", 'say "x"', "é怒", "[brackets]", "{braces}", "001", "yes", "null",
     "1e3", "a\\b", "~x", "(1)", "x:y", "#1", "a'b\\"],
)  # fmt: skip
def test_paths_of_any_name(tmp_path: Path, name: str) -> None:
    if name in ("null", "[brackets]"):
        (tmp_path / "here" / name).mkdir()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose("audit", overrides=arguments([f"path={name}", "path=other/set.zip"]))
        assert list(config.path) == [name, "other/set.zip"]
        alone = compose("audit", overrides=arguments([f"path={name}"])).path
        assert list(alone) == [name]


def test_lists_of_paths_and_of_checks() -> None:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose("audit", overrides=arguments(["path=[a,'b c']", "fail_on=leak,conflict"]))
        assert (list(config.path), list(config.fail_on)) == (["a", "b c"], ["leak", "conflict"])
        assert compose("audit", overrides=arguments(["fail_on=leak|blank"])).fail_on == ["leak", "blank"]
        config = compose("audit", overrides=arguments(["data=fed", "fail_on=never"]))
        assert (config.path, list(config.fail_on), config.data.name) == (None, ["never"], "fed")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["path=a", "data=fed"], "data=fed"),
        (["data.root=x", "path=a"], "data.root=x"),
        (["path=a", "merge.duplicates=pixels"], "merge.duplicates=pixels"),
        (["path=a", "merge=official"], "merge=official"),
        (["data=fed", "duplicates=pixels"], "merge.duplicates=pixels"),
    ],
)
def test_an_option_that_would_not_be_used_is_refused(given: list[str], named: str) -> None:
    with pytest.raises(UserError, match=re.escape(named)):
        arguments(given)
    assert arguments(["path=a", "merge.twins.strangers=1", "duplicates=near"])


def called(*given: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "data_tools.audit", *given, "hydra.run.dir=out"],
        env=os.environ | {"PYTHONPATH": str(PROJECT)} | environment,
        capture_output=True,
        text=True,
        encoding=environment.get("PYTHONIOENCODING", "utf-8"),
        check=False,
    )


def test_command_fails_on_what_it_is_told(tmp_path: Path) -> None:
    write_tree(tmp_path / "a set", CLEAN | {"train/é怒/leak.png": CLEAN["test/cat/0.png"], "test/é怒/x.png": png(90)})
    done = called(f"path={tmp_path}/a set/", "duplicates=pixels", "fail_on=leak,blank", PYTHONIOENCODING="cp1252")
    assert (done.returncode, done.stderr) == (1, "")
    assert "1 of 5 test images (20.0 %) has a duplicate in training" in done.stdout
    assert done.stdout.splitlines()[-1] == "fail_on=leak: 1 test image"
    assert read_json(Path("out/audit.json"))["checks"]["leak"] == 1
    assert {path.name for path in Path().iterdir()} == {"out", "audits"}


def test_command_into_a_closed_pipe(tmp_path: Path) -> None:
    write_tree(tmp_path / "set", CLEAN)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "data_tools.audit", f"path={tmp_path}/set", "duplicates=pixels", "hydra.run.dir=out"],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
    assert Path("out/keep.csv").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_every_check_can_fail(name: str) -> None:
    numbers = {
        "checks": {each: int(each == name) for each in NAMES}, "merged": False, "without_images": {"test": ["eel"]},
        "test_in_validation": 0, "evaluated": {"validation": 0, "test": 3},
    }  # fmt: skip
    assert [check.name for check in failed(numbers, list(NAMES))] == [name]
    assert not failed(numbers, [each for each in NAMES if each != name])


def test_bad_options_are_refused(tmp_path: Path) -> None:
    done = called("path=nothing/", "fail_on=leek")
    assert done.returncode == 2
    assert done.stderr == (
        "error: fail_on: there is no check 'leek'; choose from never, leak, conflict, duplicate, unreadable, blank, "
        "missing\n"
    )
    with pytest.raises(UserError, match="no such folder"):
        audited(tmp_path / "out", tmp_path / "nothing")
    with pytest.raises(UserError, match="list is empty"):
        audited(tmp_path / "out")


# --- the page ---------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The tags, texts and style of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.texts: list[str] = []
        self.style = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        if tag == "img":
            self.images.append(dict(attributes))

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.style += data
        else:
            self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def page(tmp_path: Path) -> Page:
    """A page with everything on it."""
    write_tree(tmp_path / "set", CLEAN | {
        "train/dog/wrong.png": png(6, compress_level=0), "train/dog/cut.png": png(70)[:50],
        "train/dog/blank.png": encoded(np.full((8, 8), 7, np.uint8)), "train/eel/1.png": png(80), "notes.txt": b"x",
        "train/cat/p.png": encoded(photograph(3)), "train/cat/q.jpg": encoded(photograph(3), "jpeg", quality=80),
        "train/cat/deep.png": encoded(pixels(4).astype(np.uint16) * 16),
    })  # fmt: skip
    audited(tmp_path / "out", tmp_path / "set", duplicates="mirrored", merge={"twins": {"strangers": 1}})
    return Page((tmp_path / "out" / "audit.html").read_text())


def test_the_page_says_what_is_seen(page: Page) -> None:
    assert page.images
    for image in page.images:
        said = image["alt"] or ""
        assert said.startswith(("Two images that agree as ", "2 images that are duplicates, ", "One image, blank: "))
        assert (image["src"] or "").startswith("data:image/png;base64,")
    assert any("test: cat" in image["alt"] and "train: dog" in image["alt"] for image in page.images)


def test_the_page_has_no_raw_python_and_no_photographs(page: Page) -> None:
    assert not re.search(r"\[\]|\{\}|\['|\{'|None|True|False|photograph", page.text)
    assert "The images on this page are from your data" in page.text
    assert "Not looked for: duplicates of the level augmented (duplicates=mirrored);" in page.text
    assert "taken as 12 bits" in page.text


def test_the_verdict_comes_first(page: Page) -> None:
    assert page.text.index("1 of 4 test images (25.0 %) has a duplicate") < page.text.index("What to do")
    assert page.text.index("What to do") < page.text.index("Duplicates at each level")


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    digits = colour * 2 if len(colour) == 3 else colour
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_in_light_and_dark(page: Page) -> None:
    schemes = [dict(re.findall(r"--([\w-]+): #(\w+)", block)) for block in re.findall(r":root \{([^}]*)\}", page.style)]
    assert len(schemes) == 2
    assert "prefers-color-scheme: dark" in page.style
    for colours in schemes:
        for text, papers in (("ink", ("paper", "panel")), ("quiet", ("paper", "panel")), ("bad", ("bad-paper",)),
                             ("good", ("good-paper",))):  # fmt: skip
            for paper in papers:
                light, dark = sorted((luminance(colours[text]), luminance(colours[paper])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, paper)


def test_what_is_not_safe_to_search_is_said_in_words(tmp_path: Path) -> None:
    """Digits: what was measured is in audit.json and on the page, with what follows from it."""
    digits = load_digits()
    images = (digits.images * 15.9375).astype(np.uint8)[:40]
    files = {f"{digits.target[at]}/{at}.png": encoded(image) for at, image in enumerate(images)}
    files |= {f"{digits.target[0]}/mirrored.png": encoded(np.ascontiguousarray(images[0][:, ::-1]))}
    write_tree(tmp_path / "set", files)
    numbers = audited(tmp_path / "out", tmp_path / "set", duplicates="augmented")
    measured = numbers["different_images"]
    assert measured["limit"] < measured["agreement"] <= 1
    assert measured["sample"] == 41
    assert numbers["note"].startswith("duplicates: only images that are equal, encoded again or mirrored are found")
    assert numbers["not_looked_for"]["levels"] == ["augmented"]
    assert (numbers["levels"]["near"]["redundant"], numbers["levels"]["mirrored"]["redundant"]) == (0, 1)
    text = Page((tmp_path / "out" / "audit.html").read_text()).text
    assert "Only images that are equal, encoded again or mirrored are found, because different images resemble" in text
    assert f"agrees to {measured['agreement']:.2f} of 1" in text
    assert text.count("encoded again or mirrored are found") == 1
    assert "Not looked for: duplicates of the level augmented;" in text


def test_too_few_images_to_measure(tmp_path: Path) -> None:
    write_tree(tmp_path / "set", {f"cat/{seed}.png": encoded(photograph(seed)) for seed in range(5)})
    numbers = audited(tmp_path / "out", tmp_path / "set", duplicates="augmented")
    assert numbers["different_images"] is None
    assert "5 different ones are too few to measure" in numbers["note"]
    text = Page((tmp_path / "out" / "audit.html").read_text()).text
    assert "Only equal images are found, because 5 different ones are too few to measure" in text
    assert "Not looked for: duplicates of the levels near, mirrored, augmented;" in text
