"""Follows a page of docs/ in a copy of the project: makes its files, adds its lines, runs its commands.

A code block is taken by the sentence before it: "Write `PATH`:" makes a file; "In `PATH`, after `TEXT`, add:" and "In
`PATH`, before `TEXT`, add:" put lines beside the one line that is TEXT or, if none is, that contains it. A block of
`bash` is run. Other blocks are only for reading.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("benchmarks", "cnn", "conf", "data_tools", "docs", "foundation", "hydra_plugins", "tests", "pyproject.toml")

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_WRITE = re.compile(r"Write `([^`]+)`:\s*\Z")
_ADD = re.compile(r"In `([^`]+)`, (after|before) `([^`]+)`, add:\s*\Z")


@dataclass(frozen=True)
class Step:
    """One code block of a page, and what the sentence before it says to do with it."""

    line: int  # of the page, from 1
    language: str
    text: str
    verb: str  # write, after, before, run, or '' for a block to read
    path: str = ""
    anchor: str = ""


def steps(page: str) -> Iterator[Step]:
    """The code blocks of a page in order."""
    end = 0
    for block in _BLOCK.finditer(page):
        before, line = page[end : block.start()], page.count("\n", 0, block.start()) + 1
        end = block.end()
        language, text = block.groups()
        if written := _WRITE.search(before):
            yield Step(line, language, text, "write", written[1])
        elif added := _ADD.search(before):
            yield Step(line, language, text, added[2], added[1], added[3])
        else:
            yield Step(line, language, text, "run" if language == "bash" else "")


def copy_project(folder: Path) -> Path:
    """A copy of the project. What Numba has compiled of unchanged files comes along, and holds there, too."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("*.pyc"))
        else:
            shutil.copy2(ROOT / part, folder / part)
    return folder


def apply(step: Step, project: Path) -> None:
    """Make the file, or add the lines. Raises AssertionError where the page no longer fits the code."""
    path = project / step.path
    if step.verb == "write":
        assert not path.exists(), f"line {step.line}: {step.path} is there already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step.text, encoding="utf-8")
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    found = [number for number, line in enumerate(lines) if step.anchor == line.strip()]
    found = found or [number for number, line in enumerate(lines) if step.anchor in line]
    assert len(found) == 1, f"line {step.line}: '{step.anchor}' is in {len(found)} lines of {step.path}, not in one"
    at = found[0] + (step.verb == "after")
    path.write_text("".join([*lines[:at], step.text, *lines[at:]]), encoding="utf-8")


def run(command: str, project: Path) -> str:
    """What a shell command prints, run in the copy with this Python. Raises AssertionError if it fails."""
    words = command.replace(".venv/bin/python", "python")
    assert words.startswith("python "), f"only python is run: {command}"
    done = subprocess.run(
        words.replace("python", f'"{sys.executable}"', 1),
        shell=True,
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def follow(page: str, project: Path) -> list[str]:
    """Do all that the page says, in its order; what its commands print."""
    printed = []
    for step in steps((project / "docs" / page).read_text(encoding="utf-8")):
        if step.verb == "run":
            printed += [run(line, project) for line in step.text.splitlines() if line and not line.startswith("#")]
        elif step.verb:
            apply(step, project)
    return printed
