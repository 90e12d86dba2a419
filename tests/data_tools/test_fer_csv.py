"""The FER table: both headers, every bad row, and a parser that hostile rows cannot upset."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from drawn import Pack, configured, pixels, prepared, write_tar, write_tree, write_zip
from hypothesis import given
from hypothesis import strategies as st

from data_tools.prepare import prepare
from data_tools.sources.fer_csv import EMOTIONS, RowError, parse_emotion, parse_pixels, parse_usage
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
            assert isinstance(result, np.ndarray) or result in (*EMOTIONS, "train", "validation", "test")


@given(st.integers(0, 2303), st.text(min_size=1, max_size=5))
def test_one_strange_pixel_is_named(place: int, text: str) -> None:
    values = ["7"] * 2304
    values[place] = text
    if len(text.split()) == 1 and text.strip() not in map(str, range(256)):
        with pytest.raises(RowError, match=f"pixel {place + 1} is"):
            parse_pixels(" ".join(values))
