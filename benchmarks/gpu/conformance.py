"""The tests marked gpu, on the device: float32 and bfloat16."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.gpu.turn import Turn, header
from foundation.files import write_text

ROOT = Path(__file__).resolve().parents[2]
# Named one by one: other folders import packages that a machine with a GPU need not have. Whole steps come first.
TESTS = (
    "tests/models/test_step_on_kernels.py",
    "tests/training/test_capture.py",
    "tests/cuda_ops",
    "tests/backends",
)
# A warning about something deprecated in CuPy or NumPy is no failure there. Nothing is written but the output.
OPTIONS = (
    *("-m", "gpu", "-v", "--tb=short", "--maxfail=60", "--continue-on-collection-errors"),
    *("-c", "pyproject.toml", "-o", "filterwarnings=default", "-p", "no:cacheprovider"),
)

_OUTCOME = re.compile(r"^(\S*?)::(.+?) (PASSED|FAILED|ERROR|SKIPPED)\b", re.MULTILINE)
_OF_A_WORKER = re.compile(r"^\[gw\d+\] \[ *\d+%\] (PASSED|FAILED|ERROR|SKIPPED) (\S*?)::(.+?) *$", re.MULTILINE)
_MOST_WORKERS = 12  # each has its own context on the device, and its own reference on the host
_MOST = 20_000  # characters of the failures' text


def run(turn: Turn) -> str:
    """Run the tests until the time is over; writes `conformance.md`, of the tests that ran."""
    command = [sys.executable, "-m", "pytest", *OPTIONS, *_in_parallel(), *(turn.tests or TESTS)]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            status: int | None = process.wait(max(1.0, turn.left - 5))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = None
        log.seek(0)
        text = log.read()
    found = outcomes(text)
    write_text(turn.out / "conformance.md", report(turn, found, text, status))
    counts = Counter(outcome for *_, outcome in found)
    summary = ", ".join(f"{number} {outcome.lower()}" for outcome, number in sorted(counts.items())) or "no test ran"
    if status is None:
        summary += "; stopped when its time was over"
    if counts["FAILED"] or counts["ERROR"] or status not in (0, None):
        raise RuntimeError(f"{summary} (pytest's exit status: {status})")
    return summary


def outcomes(text: str) -> list[tuple[str, str, str]]:
    """File, test and outcome from pytest's lines, which pytest-xdist writes in another order."""
    return _OUTCOME.findall(text) + [(file, test, outcome) for outcome, file, test in _OF_A_WORKER.findall(text)]


def _in_parallel() -> list[str]:
    """Options for pytest-xdist, where it is installed."""
    if importlib.util.find_spec("xdist") is None or (workers := min(_MOST_WORKERS, (os.cpu_count() or 1) - 1)) < 2:
        return []
    plugin = ["-p", "xdist.plugin"] if os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD") else []
    return [*plugin, "--numprocesses", str(workers), "--dist", "worksteal"]


def report(turn: Turn, found: list[tuple[str, str, str]], text: str, status: int | None) -> str:
    """The outcomes by file and storage type, the failures, and pytest's text about them."""
    rows: dict[tuple[str, str], Counter[str]] = {}
    for file, test, outcome in found:
        storage = "bfloat16" if "bf16" in test or "bfloat16" in test else "float32"
        rows.setdefault((file, storage), Counter())[outcome] += 1
    names = ("PASSED", "FAILED", "ERROR", "SKIPPED")
    ended = "when its time was over" if status is None else f"with exit status {status}"
    lines = [
        *header("Conformance on the device", turn.facts()),
        f"pytest ended {ended}.",
        "",
        f"| tests | storage | {' | '.join(name.lower() for name in names)} |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {file} | {storage} | {' | '.join(str(counts[name]) for name in names)} |"
            for (file, storage), counts in rows.items()
        ),
    ]
    if failed := [f"- {file}::{test}" for file, test, outcome in found if outcome in ("FAILED", "ERROR")]:
        lines += ["", "## Failures", "", *failed]
    if failed or status not in (0, None):
        begin = max(text.find("= FAILURES ="), text.find("= ERRORS ="), 0)
        lines += ["", "```", text[begin : begin + _MOST], "```"]
    return "\n".join(lines) + "\n"
