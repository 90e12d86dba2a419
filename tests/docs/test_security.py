"""docs/security.md names tests that are there, and limits that are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cnn.models import builder
from data_tools.reading import images
from data_tools.sources import class_folders, containers, csv_rows, idx, safe_pickle
from foundation import files, strict_yaml

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_every_test_that_it_names_is_there():
    named = re.findall(r"\]\((\.\./[^)]+)\)", TEXT)
    assert len(named) > 10
    assert [name for name in named if not (PAGE.parent / name).is_file()] == []


@pytest.mark.parametrize(
    ("row", "value", "unit"),
    [
        ("one file in an archive", containers.LARGEST_MEMBER, 2**30),
        ("an archive, unpacked", containers.LARGEST_RATIO, 1),
        ("a header of a tar", containers._LARGEST_NAME, 2**20),
        ("an image", class_folders.LARGEST_FILE, 2**20),
        ("an image", images.LARGEST_IMAGE, 1),
        ("a line of a table", csv_rows.LONGEST_LINE, 1),
        ("a file of MNIST", idx.LARGEST, 2**30),
        ("a file of MNIST", safe_pickle.LARGEST, 2**20),
        ("YAML", strict_yaml.LARGEST, 2**20),
        ("YAML", strict_yaml.DEEPEST, 1),
        ("JSON", files.LARGEST_JSON, 2**20),
        ("layers of a model", builder.MOST_ENTRIES, 1),
        ("branches", builder.MOST_BRANCHES_DEEP, 1),
        ("trained numbers", builder.MOST_PARAMETERS, 1),
    ],
)
def test_its_limits_are_those_of_the_code(row, value, unit):
    (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| {row}")]
    limit = line.split("|")[2]
    suffix = {1: "", 2**20: " MiB", 2**30: " GiB"}[unit]
    assert re.search(rf"(?<![\d,]){value // unit:,}{suffix}(?!\d|,\d)", limit), limit
