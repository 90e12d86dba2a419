"""`python -m onnx_vectors.table --write` from tests/: writes docs/onnx_vectors.md, what of ONNX's vectors is run."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import onnx

from onnx_vectors.cases import FOLDERS, Case, all_cases
from onnx_vectors.reasons import NOT_OURS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "onnx_vectors.md"
COMMAND = "make onnx-vectors"

_HEAD = """\
# ONNX's test vectors

Every backend and the emulated CUDA kernels run independent test vectors: those of the package `onnx` {version}. It
generates the vectors of single operators in Python (`node`), and has graphs of a few operators that were exported by
PyTorch, with PyTorch's results ({folders}).
`tests/onnx_vectors/adapter.py` expresses each ONNX operator by ours: layouts, attributes, and conventions that differ
by a formula. `tests/onnx_vectors/reasons.py` has the reasons for cases that are not run. A test fails if a case is
neither run nor has a reason, and if this page is not what `make onnx-vectors` writes.

Of {total} cases {run} are run. {expanded} repeat the vectors of another case, with its operator expanded into others;
{rest} are not run. Vectors of whole networks (`light`, `real`) have no weights and are not counted.
"""


def page() -> str:
    """The text of docs/onnx_vectors.md."""
    cases = all_cases()
    expanded = [case for case in cases if _repeats(case)]
    ours = [case for case in cases if not _repeats(case) and case.ops and not set(case.ops) & set(NOT_OURS)]
    rest = [case for case in cases if not _repeats(case) and case not in set(ours)]
    run = sum(not case.reason for case in cases)
    head = _HEAD.format(
        version=onnx.__version__,
        folders=", ".join(f"`{folder}`" for folder in FOLDERS),
        total=len(cases),
        run=run,
        expanded=len(expanded),
        rest=len(cases) - run - len(expanded),
    )
    return "\n".join([head, *_operators(ours), "", *_left_out(ours), "", *_others(rest), ""])


def _repeats(case: Case) -> bool:
    return case.source == "node" and "_expanded" in case.name


def _name(case: Case) -> str:
    return ", ".join(case.ops)


def _operators(cases: Iterable[Case]) -> list[str]:
    run, left = Counter(), Counter()  # type: Counter[str], Counter[str]
    for case in cases:
        (left if case.reason else run)[_name(case)] += 1
    return [
        "## Operators that we have",
        "",
        "| operators of the case | run | not run |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {run[name]} | {left[name] or ''} |" for name in sorted({*run, *left})),
    ]


def _left_out(cases: Iterable[Case]) -> list[str]:
    lines = [
        f"| {_name(case)} | `{case.name.removeprefix('test_')}` | {case.reason} |" for case in cases if case.reason
    ]
    return ["## Of these, not run", "", "| operators | case | why |", "| --- | --- | --- |", *sorted(lines)]


def _others(cases: Iterable[Case]) -> list[str]:
    counts = Counter(case.reason for case in cases)  # type: Counter[str]
    names = {reason: sorted({op for case in cases if case.reason == reason for op in case.ops}) for reason in counts}
    return [
        "## Operators that we do not have",
        "",
        "| why | cases | operators of these cases |",
        "| --- | ---: | --- |",
        *(f"| {reason} | {counts[reason]} | {', '.join(names[reason])} |" for reason in sorted(counts)),
    ]


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page())
