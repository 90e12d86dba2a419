"""The list of mutants fits the kernels, and judging works. All of them: `make mutants`."""

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from cnn.kernels import FOLDER, source_names
from cuda_emulator import unavailable
from kernel_mutants.catalogue import MUTANTS
from kernel_mutants.journal import Journal
from kernel_mutants.judge import TESTS, Verdict
from kernel_mutants.mutant import Mutant, MutantError, kernel_files, sources_with, write_kernels
from kernel_mutants.report import Judged, render
from kernel_mutants.selection import NAMED_TESTS, TEST_FILES
from kernel_mutants.stages import FILES

EXAMPLE = Mutant("vectors.cuh", "tail", "an example", "valid > 3", "valid > 2")


@pytest.mark.parametrize("path", kernel_files(), ids=lambda path: path.name)
def test_every_mutant_replaces_what_it_says(path):
    text = path.read_text(encoding="utf-8")
    mutants = [mutant for mutant in MUTANTS if mutant.file == path.name]
    assert mutants, "a kernel file without mutants"
    for mutant in mutants:
        changed = mutant.apply(text)
        assert len(changed) - len(text) == len(mutant.new) - len(mutant.old)
        line = mutant.line(text)
        assert text.splitlines()[: line - 1] == changed.splitlines()[: line - 1]
        assert text.splitlines()[line - 1] != changed.splitlines()[line - 1]
    assert len({mutant.apply(text) for mutant in mutants}) == len(mutants), "two mutants are the same"


def test_the_list_is_long_and_its_names_are_unique():
    assert len(MUTANTS) >= 60
    assert not [name for name, count in Counter(mutant.id for mutant in MUTANTS).items() if count > 1]
    assert {mutant.file for mutant in MUTANTS} == {path.name for path in kernel_files()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"old": "valid > 4"}, "the text occurs 0 times, not 1: 'valid > 4'"),
        ({"old": "valid > "}, "the text occurs 5 times, not 1: 'valid > '"),
        ({"nth": 2}, "the text occurs 1 times, not 1: 'valid > 3'"),
        ({"new": "valid > 3"}, "nothing changes"),
    ],
)
def test_a_mutant_that_is_out_of_date_is_refused(changes, message):
    text = (FOLDER / "vectors.cuh").read_text(encoding="utf-8")
    with pytest.raises(MutantError, match=re.escape(f"vectors.cuh: an example: {message}")):
        replace(EXAMPLE, **changes).apply(text)


def test_one_occurrence_of_several_is_replaced():
    mutant = Mutant("any.cu", "index", "an example", "b", "X", nth=2, of=3)
    assert mutant.apply("a b\nb b\n") == "a b\nX b\n"
    assert mutant.line("a b\nb b\n") == 2


def test_one_file_changes_in_a_folder_of_all(tmp_path):
    write_kernels(tmp_path, None)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert set(before) == {path.name for path in kernel_files()}
    write_kernels(tmp_path, EXAMPLE)
    assert [path.name for path in tmp_path.iterdir() if path.stat().st_mtime_ns != before[path.name]] == [EXAMPLE.file]
    write_kernels(tmp_path, None)
    assert all((tmp_path / path.name).read_text() == path.read_text() for path in kernel_files())
    with pytest.raises(MutantError, match=r"there is no such file"):
        write_kernels(tmp_path, replace(EXAMPLE, file="none.cu"))


def test_a_header_reaches_the_files_that_include_it():
    assert sources_with("dense.cu") == {"dense.cu"}
    assert sources_with("gemm.cuh") == {"convolution.cu", "dense.cu"}
    assert sources_with("vectors.cuh") == {"convolution.cu", "dense.cu"}  # through gemm.cuh


def test_every_kernel_file_has_tests_by_name_and_every_test_file_is_there():
    assert set(NAMED_TESTS) == set(source_names())
    assert all((TESTS / file).is_file() for file in FILES)
    own = {Path(file).stem for file in FILES if file.startswith("cuda_ops/")}
    assert own == {*TEST_FILES, "test_orders_and_addresses"}


def test_the_report_names_survivors_with_their_reasons():
    excused = replace(EXAMPLE, name="another", may_survive="Nobody reads it.")
    judged = [
        Judged(EXAMPLE, Verdict(True, 1.5, "test_x.py::test_y[a|b]", "values", "x<4>: 3 | 4")),
        Judged(excused, Verdict(False, 2.5)),
        Judged(replace(EXAMPLE, name="a third"), Verdict(False, 3)),
    ]
    text = render(judged, 3, Verdict(False, 60, tests={"values": 1000, "checked mode": 234}), "the command")
    assert "3 mutants in 1 files, **1 killed (33.3 %)**,\n  2 survived" in text
    assert "The same 1,234 tests pass" in text
    assert "- `vectors.cuh`, line 19: another. Nobody reads it." in text
    assert "a third. **No reason is known: a test is missing.**" in text
    assert "| vectors.cuh | 19 | tail | an example | values: `test_x.py::test_y[a¦b]` | x‹4›: 3 ¦ 4 | 1.5 |" in text


@pytest.mark.skipif(unavailable() is not None, reason=f"the CUDA emulator cannot run here: {unavailable()}")
def test_two_mutants_are_killed_and_the_kernels_as_they_are_pass():
    command = [
        "-m",
        "kernel_mutants.run",
        "--anew",
        "--only",
        "batches.cu: (one row too many is erased|no interpolation)",
    ]
    done = subprocess.run([sys.executable, *command], cwd=TESTS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "unchanged: " in done.stdout
    assert "erase: one row too many is erased -- values: test_conformance.py::" in done.stdout
    assert "2 mutants, 2 killed (100.0 %)" in done.stdout


def test_the_report_of_some_says_how_sure_it_is():
    page = render([Judged(EXAMPLE, Verdict(True, 1.5))] * 20, 620, Verdict(False, 60), "the command")
    text = " ".join(page.split())
    assert "20 of 620 mutants have been judged" in text
    assert "between 83.9 and 100.0 % are killed" in text  # Wilson's interval of 20 among 20


def test_a_verdict_holds_until_kernels_or_mutant_change(tmp_path, monkeypatch):
    verdict = Verdict(True, 2.0, "a test", "values", "a message", {"values": 3}, ("values",))
    journal = Journal(tmp_path / "mutants.jsonl")
    assert journal.verdict(EXAMPLE, {"dense.cu"}) is None
    journal.add(EXAMPLE, {"dense.cu"}, verdict)
    with (tmp_path / "mutants.jsonl").open("a") as file:
        file.write('{"key": "cut sho')
    assert Journal(tmp_path / "mutants.jsonl").verdict(EXAMPLE, {"dense.cu"}) == verdict
    assert journal.verdict(None, {"dense.cu"}) is None
    journal.save(tmp_path / "recorded.jsonl", [(None, {"dense.cu"}), (EXAMPLE, {"dense.cu"})])
    elsewhere = Journal(tmp_path / "another.jsonl", tmp_path / "recorded.jsonl")
    assert elsewhere.verdict(EXAMPLE, {"dense.cu"}) == verdict
    assert not (tmp_path / "another.jsonl").exists()
    assert journal.verdict(replace(EXAMPLE, new="valid > 1"), {"dense.cu"}) is None
    kernels = tmp_path / "kernels"
    write_kernels(kernels, None)
    monkeypatch.setattr("kernel_mutants.journal.FOLDER", kernels)
    assert journal.verdict(EXAMPLE, {"dense.cu"}) == verdict
    write_kernels(kernels, EXAMPLE)  # a header of the file
    assert journal.verdict(EXAMPLE, {"dense.cu"}) is None
