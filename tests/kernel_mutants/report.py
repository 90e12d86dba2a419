"""What became of the mutants, as a page."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy import stats

from cnn.kernels import FOLDER
from kernel_mutants.judge import OUT_OF_STEP, Verdict
from kernel_mutants.mutant import Mutant
from kernel_mutants.stages import STAGES

DOCS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
MARKDOWN, RECORDED = DOCS / "mutants.md", DOCS / "mutants.jsonl"
LEAST_SHARE = 0.95  # of the mutants, that must be killed

_PROCESS = "the tests' process"  # where a stray write ended it


@dataclass(frozen=True)
class Judged:
    """A mutant and its verdict."""

    mutant: Mutant
    verdict: Verdict

    @property
    def line(self) -> int:
        """Where the mutant's file begins to differ."""
        return self.mutant.line((FOLDER / self.mutant.file).read_text(encoding="utf-8"))


def share_killed(judged: Sequence[Judged]) -> float:
    """The share of mutants that some test noticed."""
    return sum(each.verdict.killed for each in judged) / len(judged)


def render(judged: Sequence[Judged], number: int, unchanged: Verdict, command: str) -> str:
    """The report in Markdown."""
    survivors = [each for each in judged if not each.verdict.killed]
    seconds = [each.verdict.seconds for each in judged]
    return "\n".join(
        [
            "# Kernels broken on purpose",
            "",
            f"Written by `{command}` (`make mutants`). A mutant is one exact replacement in the text of one kernel",
            "file; `tests/kernel_mutants/catalogue` lists them. The tests of `tests/backends` that look at that file",
            "run on the mutated kernels in the CPU emulator, cheap ones first, until one fails.",
            "",
            *_left(judged, number),
            f"- {len(judged)} mutants in {len({each.mutant.file for each in judged})} files, "
            f"**{len(judged) - len(survivors)} killed ({100 * share_killed(judged):.1f} %)**,",
            f"  {len(survivors)} survived; at least {100 * LEAST_SHARE:.0f} % must be killed.",
            f"- The same {sum(unchanged.tests.values()):,} tests pass on the kernels as they are, in "
            f"{unchanged.seconds:.0f} s.",
            f"- {sum(seconds) / 60:.0f} minutes in all, {statistics.median(seconds):.1f} s for the median mutant, "
            f"{max(seconds):.0f} s for the slowest.",
            "",
            "## What noticed them",
            "",
            *_counts(
                "stage", Counter(each.verdict.stage or _PROCESS for each in judged if each.verdict.killed), STAGES
            ),
            "",
            "A mutant counts for the first stage that noticed it; the later ones did not run.",
            "",
            "## What was broken",
            "",
            *_kinds(judged),
            "",
            *_out_of_step(judged),
            "## Survivors",
            "",
            *(_survivors(survivors) if survivors else ["None."]),
            "",
            "## Every mutant",
            "",
            "| file | line | kind | what is wrong | noticed by | what it said | s |",
            "| --- | ---: | --- | --- | --- | --- | ---: |",
            *(_row(each) for each in judged),
            "",
        ]
    )


def _left(judged: Sequence[Judged], number: int) -> list[str]:
    if len(judged) == number:
        return []
    killed = sum(each.verdict.killed for each in judged)
    interval = stats.binomtest(killed, len(judged)).proportion_ci(method="wilson")
    return [
        f"- {len(judged)} of {number} mutants have been judged on the present kernels, in an order that has nothing to",
        f"  do with what they break. So of all between {100 * interval.low:.1f} and {100 * interval.high:.1f} % are",
        "  killed (95 %, Wilson). The same command goes on with the others.",
    ]


def _counts(title: str, counts: Mapping[str, int], order: Sequence[str]) -> list[str]:
    names = [name for name in (*order, _PROCESS) if counts.get(name)]
    return [f"| {title} | mutants |", "| --- | ---: |", *(f"| {name} | {counts[name]} |" for name in names)]


def _kinds(judged: Sequence[Judged]) -> list[str]:
    killed = Counter(each.mutant.kind for each in judged if each.verdict.killed)
    everything = Counter(each.mutant.kind for each in judged)
    rows = [f"| {kind} | {everything[kind]} | {killed[kind]} |" for kind in sorted(everything)]
    return ["| kind | mutants | killed |", "| --- | ---: | ---: |", *rows]


def _out_of_step(judged: Sequence[Judged]) -> list[str]:
    """Which stages notice a mutant whose threads get out of step, each asked alone."""
    rows = [each for each in judged if each.mutant.kind in OUT_OF_STEP]
    if not rows:
        return []
    stages = [stage for stage in STAGES if any(each.verdict.tests.get(stage) for each in rows)]

    def cells(verdict: Verdict) -> list[str]:
        return [
            ("yes" if stage in verdict.noticed_by else "no") if verdict.tests.get(stage) else "–" for stage in stages
        ]

    return [
        "## Threads out of step",
        "",
        "Barriers, masks and atomics that are missing, and each stage asked alone whether it notices; – stands for a",
        "stage without tests of that file.",
        "",
        "| file | kind | what is wrong | " + " | ".join(stages) + " |",
        "| --- | --- | --- |" + " --- |" * len(stages),
        *(
            f"| {each.mutant.file} | {each.mutant.kind} | {each.mutant.name} | {' | '.join(cells(each.verdict))} |"
            for each in rows
        ),
        "",
    ]


def _survivors(survivors: Sequence[Judged]) -> list[str]:
    return [
        f"- `{each.mutant.file}`, line {each.line}: {each.mutant.name}. "
        f"{each.mutant.may_survive or '**No reason is known: a test is missing.**'}"
        for each in survivors
    ]


def _row(each: Judged) -> str:
    verdict = each.verdict
    noticed = f"{verdict.stage or _PROCESS}: `{_plain(verdict.test)}`" if verdict.killed else "**survived**"
    cells = (
        *(each.mutant.file, each.line, each.mutant.kind, each.mutant.name),
        *(noticed, _plain(verdict.message), f"{verdict.seconds:.1f}"),
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _plain(text: str) -> str:
    """Text that does not end a table's cell."""
    return text.replace("|", "¦").replace("`", "'").replace("<", "‹").replace(">", "›").replace("*", "∗")
