"""Cells that a spreadsheet would compute are marked as text, and come back as they were."""

import csv
import io
import string

import numpy as np
import pytest

from foundation.csv_cells import cell, original

FORMULAS = [
    "=1+1", "=cmd|'/c calc'!A0", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "=", "+", "-", "@x", "-a.png", "--", "'=1",
    "''=1", "=\n1", "+49 30 1234", "-1e", "-1,5", "=HYPERLINK(\"x\")", "＝1", "-0x10", "+1e5x",
]  # fmt: skip
KEPT = [
    "",
    "a",
    "a=b",
    "1",
    "-1",
    "+1",
    "-1.5",
    "-.5",
    "1e-3",
    "-1E+30",
    "-inf",
    "nan",
    "+inf",
    "'a",
    "'",
    " =1",
    "x-1",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_begins_like_a_formula_gets_an_apostrophe(text):
    assert cell(text) == "'" + text
    assert original(cell(text)) == text


@pytest.mark.parametrize("text", KEPT)
def test_numbers_and_other_text_stay(text):
    assert cell(text) == text
    assert original(cell(text)) == text


@pytest.mark.parametrize("value", [-1, -1.5, None, True, np.float32(-2)])
def test_what_is_no_text_stays(value):
    assert cell(value) is value


def test_any_text_survives_a_file_and_begins_with_no_sign_of_a_formula():
    rng = np.random.default_rng(0)
    letters = "=+-@'\t\r\n,\";0123456789.eE" + string.ascii_letters
    texts = ["".join(rng.choice(list(letters), rng.integers(0, 9))) for _ in range(3000)]
    file = io.StringIO(newline="")
    csv.writer(file).writerows([cell(text), "x"] for text in texts)
    file.seek(0)
    read = [row[0] for row in csv.reader(file)]
    assert [original(text) for text in read] == texts
    for text in read:
        if text[:1] in tuple("=+-@\t\r"):
            float(text)
