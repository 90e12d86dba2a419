"""Damaged files of every kind that is read from others: each is read, or refused in one line.

A million inputs take an hour: `python -m benchmarks.fuzz --inputs 28000`. Here are some of each kind.
"""

import pytest

from benchmarks.fuzz import attempt, targets

INPUTS = 15


@pytest.fixture(scope="module")
def known():
    return {target.name: target for target in targets()}


NAMES = (
    "pack", "finished run", "network from Python", "interrupted run", "config", "sweep", "history", "manifest",
    "archive", "source", "table", "image",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_read_or_refused_in_one_line(known, tmp_path, name):
    outcomes = []
    for target in known.values():
        if target.name.startswith(name):
            outcomes += [attempt(target, number, tmp_path / "x" / "y") for number in range(INPUTS)]
    faults = [outcome for outcome in outcomes if outcome.kind not in ("read", "refused")]
    assert faults == []
    assert "refused" in [outcome.kind for outcome in outcomes] or name == "sweep"  # a job without a score is listed


def test_the_names_are_all_there_are(known):
    assert [name for name in known if not name.startswith(NAMES)] == []


@pytest.mark.parametrize("name", ["pack", "finished run", "interrupted run", "archive 8.zip", "table fer2013.csv"])
def test_an_unchanged_file_is_read(known, tmp_path, name):
    target = known[name]
    for path, content in target.files.items():
        place = tmp_path / "x" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    target.use(tmp_path / "x")
