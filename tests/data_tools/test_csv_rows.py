"""The parser under every table: whatever the bytes, each line is a row, a reason or blank, and none affects another."""

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data_tools.sources.base import SPLITS
from data_tools.sources.csv_rows import LONGEST_LINE, CsvRows, RowError, csv_text
from data_tools.sources.listed import parse_path, parse_split
from foundation.errors import UserError

COLUMNS = ("path", "label")


def parsed(data: bytes) -> list[tuple[int, dict[str, str] | RowError]]:
    return list(CsvRows(csv_text(io.BytesIO(data)), "table.csv", COLUMNS, ("split",)))


fields = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=30)
filled = fields.filter(lambda text: text.strip(" \t,;"))


@given(st.lists(st.tuples(filled, fields, fields), max_size=8), st.sampled_from([",", ";", "\t"]), st.booleans(),
       st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())  # fmt: skip
def test_what_is_written_comes_back(
    rows: list[tuple[str, str, str]], delimiter: str, mark: bool, end: str, quote_all: bool
) -> None:
    file = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([("path", "label", "split"), *rows])
    data = file.getvalue().encode("utf-8-sig" if mark else "utf-8")
    expected = [{"path": p.strip(), "label": c.strip(), "split": s.strip()} for p, c, s in rows]
    assert parsed(data) == list(enumerate(expected, 1))


@given(st.binary(max_size=400))
@example(b"path,label\n\x00\n")
@example(b'path,label\n"a,b\nc,d\n')
@example(b"path,label\n\xff\xfe,\xe9\n")
def test_any_bytes_give_rows_and_reasons(data: bytes) -> None:
    body = b"path,label\n" + data
    rows = parsed(body)
    assert [number for number, _ in rows] == list(range(1, len(rows) + 1))
    for _, row in rows:
        assert isinstance(row, RowError) or set(row) == set(COLUMNS)
        assert str(row)


@given(st.binary(max_size=400))
def test_any_header_is_taken_or_refused_in_one_line(data: bytes) -> None:
    try:
        parsed(data)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017 - a refusal is one of two right outcomes
        assert str(error).startswith("table.csv")  # noqa: PT017


@given(st.lists(st.sampled_from(["good.png,cat", '"open,cat', "short", "", 'a"b,cat', '"x"y,cat', "a,b,c,d", ",,"])))
def test_a_bad_row_affects_no_other(lines: list[str]) -> None:
    rows = parsed("\n".join(["path,label", *lines]).encode())
    written = [line for line in lines if line.strip(",")]
    assert len(rows) == len(written)
    for line, (_, row) in zip(written, rows, strict=True):
        alone = parsed(f"path,label\n{line}\n".encode())
        assert str(row) == str(alone[0][1])


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("length", [LONGEST_LINE - 6, LONGEST_LINE + 1, 3 * LONGEST_LINE])
def test_a_line_of_any_length_is_one_row(length: int, end: bytes) -> None:
    rows = parsed(end.join([b"path,label", b"a,cat", b"b" * length + b",cat", b"c,cat"]))
    assert len(rows) == 3
    assert isinstance(rows[1][1], RowError) == (length > LONGEST_LINE)
    assert rows[2][1] == {"path": "c", "label": "cat"}


def test_the_last_line_may_be_the_too_long_one() -> None:
    (_, row), *others = parsed(b"path,label\n" + b"x" * (2 * LONGEST_LINE))
    assert isinstance(row, RowError)
    assert not others


@given(st.text())
@example("a/../b")
@example("..")
@example("C:x")
@example("\\\\server\\x")
def test_a_path_stays_below_its_folder_or_is_refused(text: str) -> None:
    try:
        path = parse_path(text)
    except RowError:
        return
    assert not path.is_absolute()
    assert path.parts
    assert not {"..", ""} & set(path.parts)
    assert "\\" not in str(path)


@given(st.text() | st.sampled_from(["train", " Test ", "VAL", "PublicTest", ""]))
def test_a_split_is_one_of_three_or_none_or_refused(text: str) -> None:
    try:
        assert parse_split(text) in (*SPLITS, "")
    except RowError:
        assert text.strip().casefold() not in (*SPLITS, "")
