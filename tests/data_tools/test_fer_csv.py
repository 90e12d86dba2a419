"""The FER table: both headers, every bad row, and a parser that hostile rows cannot upset."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn import Pack, configured, pixels, prepared, write_tar, write_tree, write_zip
from hypothesis import given
from hypothesis import strategies as st

from data_tools.prepare import prepare
from data_tools.sources.fer_csv import EMOTIONS, RowError, parse_emotion, parse_pixels, parse_usage, split_pixels
from data_tools.sources.find import make_source
from foundation.errors import UserError

USAGES = ["Training", "Training", "PublicTest", "PrivateTest"]
HEADERS = {"fer2013.csv": "emotion,pixels,Usage", "icml_face_data.csv": "emotion, Usage, pixels"}


def sample(seed: int) -> str:
    return " ".join(map(str, pixels(seed, 48).ravel()))


def table(*bad: tuple[str, str, str], header: str = HEADERS["fer2013.csv"], end: str = "\n") -> str:
    """Good rows of two classes in every split, then the bad ones, each (emotion, pixels, usage)."""
    rows = [(str(code), sample(code * 10 + i), usage) for code in (0, 6) for i, usage in enumerate(USAGES)]
    order = [name.strip() for name in header.split(",")]
    lines = [header]
    for emotion, values, usage in (*rows, *bad):
        cells = {"emotion": emotion, "pixels": values, "Usage": usage}
        lines.append(",".join(cells[name] for name in order))
    return end.join(lines) + end


def read(root: Path, stem: str = "fer2013") -> Pack:
    classes = ["angry", "neutral"]
    source = {"fer2013": {"kind": "files", "stem": stem}}
    return prepared(configured(root, data={"classes": classes, "image_size": 48, "sources": source}))


@pytest.mark.parametrize("name", HEADERS)
def test_both_tables(root: Path, name: str) -> None:
    (root / name).write_text(table(header=HEADERS[name]))
    pack = read(root, name.removesuffix(".csv"))
    assert np.bincount(pack.splits).tolist() == [4, 2, 2]
    row = pack.by_id[f"fer2013:{name}:3"]
    assert (row.label, row.original_split, row.split) == ("angry", "validation", "validation")
    np.testing.assert_array_equal(pack.images[row.pack_row, :, :, 0], pixels(2, 48))


def test_byte_order_mark_line_ends_and_blank_lines(root: Path) -> None:
    (root / "fer2013.csv").write_bytes(("\ufeff" + table(end="\r\n") + "\r\n\r\n").encode())
    assert len(read(root).images) == 8


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_inside_a_folder_or_an_archive(root: Path, kind: str) -> None:
    files = {"fer2013/fer2013.csv": table().encode(), "fer2013/README": b"?", "fer2013/train.csv": b"a,b\n"}
    if kind == "folder":
        write_tree(root, files)
    else:
        (write_zip if kind == "zip" else write_tar)(root / f"fer2013.{kind}", files)
    prefix = "" if kind == "folder" else "fer2013/"
    assert f"fer2013:{prefix}fer2013.csv:1" in read(root).by_id


BAD_ROWS = [
    (("0", " ".join(["7"] * 2303), "Training"), "row 9: 2,303 pixels instead of 2,304"),
    (
        ("0", " ".join(["7"] * 2303 + ["256"]), "Training"),
        "row 9: pixel 2304 is '256', not an integer from 0 to 255",
    ),
    (("0", " ".join(["x"] + ["7"] * 2303), "Training"), "row 9: pixel 1 is 'x', not an integer from 0 to 255"),
    (("0", " ".join(["nan"] * 2304), "Training"), "row 9: pixel 1 is 'nan', not an integer from 0 to 255"),
    (("9", sample(99), "Training"), "row 9: emotion '9' is none of the codes 0 to 6"),
    (("", sample(99), "Training"), "row 9: emotion '' is none of the codes 0 to 6"),
    (("0", sample(99), "Holiday"), "row 9: Usage 'Holiday' is none of Training, PublicTest, PrivateTest"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_bad_row_is_set_aside_with_its_number(root: Path, row: tuple[str, str, str], reason: str) -> None:
    (root / "fer2013.csv").write_text(table(row, ("0", sample(100), "Training")))
    pack = read(root)
    assert [bad.reason for bad in pack.where(status="set_aside")] == [reason]
    assert pack.by_id["fer2013:fer2013.csv:10"].status == "kept"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0", "row 9: has 1 fields instead of 3"),
        ("0," + sample(99), "row 9: has 2 fields instead of 3"),
        ('0,"' + sample(99), "row 9: is not CSV (unexpected end of data)"),
    ],
)
def test_short_row(root: Path, line: str, reason: str) -> None:
    (root / "fer2013.csv").write_text(table() + line + "\n" + table().partition("\n")[2])
    pack = read(root)
    assert [row.reason for row in pack.where(status="set_aside")] == [reason]
    assert len(pack.rows) == 17  # an open quotation mark swallows no row after it


@pytest.mark.parametrize("header", ["emotion,pixels", "", "label,pixels,Usage"])
def test_missing_column(root: Path, header: str) -> None:
    (root / "fer2013.csv").write_text(header + "\n0,1 2 3,Training\n")
    with pytest.raises(UserError, match=r"fer2013\.csv has no column '(Usage|emotion)'"):
        prepare(configured(root, "fer2013"))


def test_several_unknown_tables(root: Path) -> None:
    write_tree(root / "fer2013", {"a.csv": b"x\n", "b.csv": b"x\n"})
    with pytest.raises(UserError, match="holds 2 CSV files"):
        prepare(configured(root, "fer2013"))


@given(st.integers(0, 2**32 - 1))
def test_pixels_come_back(seed: int) -> None:
    values = pixels(seed, 48).ravel().tolist()
    parsed = parse_pixels(" ".join(map(str, values)))
    assert parsed.dtype == np.uint8
    assert parsed.ravel().tolist() == values


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (parse_pixels, parse_emotion, parse_usage):
        with contextlib.suppress(RowError):
            result = parse(text)
            assert isinstance(result, np.ndarray) or result in (*EMOTIONS, text, "train", "validation", "test")


@given(st.integers(0, 2303), st.text(min_size=1, max_size=5))
def test_one_strange_pixel_is_named(place: int, text: str) -> None:
    values = ["7"] * 2304
    values[place] = text
    whole = re.fullmatch(r"(\d+)(\.0*)?", "".join(split_pixels(text)), re.ASCII)
    if len(split_pixels(text)) == 1 and not (whole and whole[1] in map(str, range(256))):
        with pytest.raises(RowError, match=f"pixel {place + 1} is"):
            parse_pixels(" ".join(values))


def spelled(emotion: str, values: str, usage: str) -> str:
    """A table of good rows of two classes whose cells are written in another way; `{}` is what stands there else."""
    lines = ["emotion,pixels,Usage"]
    for code, name in ((0, "Angry"), (6, "Neutral")):
        for i, split in enumerate(USAGES):
            numbers = sample(code * 10 + i).split()
            cell = {
                "commas": '"' + ",".join(numbers) + '"', "bare commas": ",".join(numbers),
                "list": '"[' + ", ".join(numbers) + ']"', "array": "[" + " ".join(numbers) + "]",
                "floats": " ".join(f"{number}.0" for number in numbers), "semicolons": ";".join(numbers),
                "short floats": " ".join(f"{number}." for number in numbers), "": " ".join(numbers),
            }[values]  # fmt: skip
            lines.append(f"{emotion.format(code=code, name=name)},{cell},{usage.format(split) if usage else split}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("emotion", ["{code}", "{code}.0", "{name}", "{code}."])
@pytest.mark.parametrize(
    "values", ["", "commas", "bare commas", "list", "array", "floats", "short floats", "semicolons"]
)
def test_every_unambiguous_spelling_of_a_row_is_read(root: Path, emotion: str, values: str) -> None:
    (root / "fer2013.csv").write_text(spelled(emotion, values, ""))
    entries = list(make_source("fer2013", str(root), {}).entries())
    assert [entry.error for entry in entries] == [""] * 8
    assert [entry.label.casefold() for entry in entries] == ["angry"] * 4 + ["neutral"] * 4
    for i, entry in enumerate(entries):
        np.testing.assert_array_equal(entry.pixels, pixels((0 if i < 4 else 60) + i % 4, 48))


@pytest.mark.parametrize(
    "change", [str.lower, str.upper, lambda usage: f" {usage} ", lambda usage: usage.replace("T", " T")]
)
def test_usage_in_any_case(root: Path, change: Callable[[str], str]) -> None:
    text = table()
    for usage in set(USAGES):
        text = text.replace(f",{usage}", f",{change(usage)}")
    (root / "fer2013.csv").write_text(text)
    splits = [entry.original_split for entry in make_source("fer2013", str(root), {}).entries()]
    assert splits == ["train", "train", "validation", "test"] * 2


@pytest.mark.parametrize("side", [1, 28, 64])
def test_square_rows_of_another_size(root: Path, side: int) -> None:
    """The first rows decide; a row of another size is bad, also if its own number of pixels is a square."""
    rows = [f"0,{' '.join(map(str, pixels(i, side).ravel()))},Training" for i in range(5)]
    odd = f"0,{' '.join(['7'] * (side + 1) ** 2)},Training"
    for at in (0, 3):
        (root / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows[:at], odd, *rows[at:]]) + "\n")
        entries = list(make_source("fer2013", str(root), {}).entries())
        assert [bool(entry.error) for entry in entries] == [i == at for i in range(6)]
        assert f"{(side + 1) ** 2:,} pixels instead of {side**2:,}" in entries[at].error
        np.testing.assert_array_equal(entries[-1].pixels, pixels(4, side))


def test_another_table_may_lack_usage(root: Path) -> None:
    rows = [line.rpartition(",")[0] for line in table().splitlines()]
    (root / "train.csv").write_text("\n".join(rows) + "\n")
    entries = list(make_source("fer2013", str(root), {"stem": "train"}).entries())
    assert [(entry.error, entry.original_split) for entry in entries] == [("", "")] * 8


def test_a_table_without_a_suffix(root: Path) -> None:
    (root / "faces").write_text(table())
    assert len(list(make_source("fer2013", str(root), {"stem": "faces"}).entries())) == 8
