"""`python -m kernel_mutants.run` from tests/: breaks the kernels place by place, and tells what the tests notice."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from cuda_emulator import unavailable
from cuda_emulator.build_cache import cache_folder, fingerprint
from kernel_mutants.catalogue import MUTANTS
from kernel_mutants.journal import Journal
from kernel_mutants.judge import Court, Verdict, in_court
from kernel_mutants.mutant import Mutant, MutantError, kernel_files, sources_with
from kernel_mutants.report import LEAST_SHARE, MARKDOWN, RECORDED, Judged, render, share_killed

_COMMAND = "python -m kernel_mutants.run --write"


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the mutants; 0 if enough are killed, and every survivor has its reason."""
    parser = argparse.ArgumentParser(prog="python -m kernel_mutants.run", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/mutants.md and mutants.jsonl")
    parser.add_argument("--only", default="", help="a regular expression: only mutants whose 'file: name' it finds")
    parser.add_argument("--part", default="1/1", help="2/3: the second third of them, for three processes side by side")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after these; the next run goes on there")
    parser.add_argument("--anew", action="store_true", help="judge also what an earlier run has judged")
    given = parser.parse_args(arguments)
    if reason := unavailable():
        print(f"error: {reason}", file=sys.stderr)
        return 2
    part, parts = (int(number) for number in given.part.split("/"))
    chosen = [mutant for mutant in _in_any_order(MUTANTS) if re.search(given.only, mutant.id)][part - 1 :: parts]
    if not chosen:
        print("error: --only finds no mutant", file=sys.stderr)
        return 2
    journal = Journal(cache_folder() / "mutants.jsonl", RECORDED)
    codes: list[int] = []
    try:
        _check(chosen)
        with _own_folder() as folder:
            until = time.monotonic() + 60 * given.minutes
            work = _Work(chosen, journal, until, given.anew, given.write)
            in_court(folder, work.sources, lambda court: codes.append(work.judge(court)))
    except MutantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return codes[0]


def _in_any_order(mutants: Sequence[Mutant]) -> list[Mutant]:
    """An order that has nothing to do with the files, so that those judged first speak for all."""
    return sorted(mutants, key=lambda mutant: fingerprint(mutant.id))


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    """A folder for mutated kernels, the same in every run but for those at the same time."""
    for number in itertools.count(1):
        folder = cache_folder() / ("mutants" if number == 1 else f"mutants-{number}")
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        with lock:
            yield folder / "kernels"
        return


def _check(mutants: Sequence[Mutant]) -> None:
    """A list that is out of date shows before anything runs."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in kernel_files()}
    for mutant in mutants:
        mutant.apply(texts[mutant.file])


@dataclass
class _Work:
    """The mutants to be judged, and what is done with the verdicts."""

    chosen: Sequence[Mutant]
    journal: Journal
    until: float  # of the clock `time.monotonic`
    anew: bool
    save: bool

    @property
    def sources(self) -> set[str]:
        """The `.cu` files that the mutants reach."""
        return set[str]().union(*(sources_with(mutant.file) for mutant in self.chosen))

    def judge(self, court: Court) -> int:
        """The exit status."""
        unchanged = self._verdict(None, self.sources, court)
        if unchanged.killed:
            raise MutantError(f"the kernels as they are fail {unchanged.test}: {unchanged.message}")
        print(f"unchanged: {sum(unchanged.tests.values())} tests pass in {unchanged.seconds:.0f} s", flush=True)
        for mutant in self.chosen:
            if time.monotonic() > self.until:
                break
            verdict = self._verdict(mutant, sources_with(mutant.file), court)
            _print(Judged(mutant, verdict))
        if self.save:
            judged = sorted(self._known(_in_any_order(MUTANTS)), key=lambda each: MUTANTS.index(each.mutant))
            MARKDOWN.write_text(render(judged, len(MUTANTS), unchanged, _COMMAND), encoding="utf-8")
            self.journal.save(RECORDED, [(None, self.sources), *_with_sources(_in_any_order(MUTANTS))])
        return _conclude(self._known(self.chosen), len(self.chosen))

    def _verdict(self, mutant: Mutant | None, sources: set[str], court: Court) -> Verdict:
        """That of an earlier run, or a new one."""
        known = None if self.anew else self.journal.verdict(mutant, sources)
        if known is None:
            known = court.judge(mutant) if mutant else court.unchanged(sources)
            self.journal.add(mutant, sources, known)
        return known

    def _known(self, mutants: Sequence[Mutant]) -> list[Judged]:
        """Those judged, up to the first that is not: what was judged out of order would not speak for all."""
        verdicts = self.journal.verdicts(_with_sources(mutants))
        known = itertools.takewhile(lambda each: each[1] is not None, zip(mutants, verdicts, strict=True))
        return [Judged(mutant, verdict) for mutant, verdict in known if verdict is not None]


def _with_sources(mutants: Sequence[Mutant]) -> list[tuple[Mutant, set[str]]]:
    return [(mutant, sources_with(mutant.file)) for mutant in mutants]


def _print(judged: Judged) -> None:
    mutant, verdict = judged.mutant, judged.verdict
    outcome = f"{verdict.stage}: {verdict.test}: {verdict.message}" if verdict.killed else "SURVIVED"
    place = f"{mutant.file}:{judged.line}"
    print(f"{verdict.seconds:5.1f} s  {place}  {mutant.kind}: {mutant.name} -- {outcome}", flush=True)


def _conclude(judged: Sequence[Judged], number: int) -> int:
    survivors = [each.mutant for each in judged if not each.verdict.killed]
    share = share_killed(judged)
    print(f"{len(judged)} mutants, {len(judged) - len(survivors)} killed ({100 * share:.1f} %)")
    if len(judged) < number:
        print(f"{number - len(judged)} are not judged yet: the same command goes on with them")
    for mutant in survivors:
        print(f"survived: {mutant.id} ({mutant.may_survive or 'no reason known'})")
    for each in judged:
        if each.verdict.killed and each.mutant.may_survive:
            print(f"killed, although it may survive: {each.mutant.id}")
    return 0 if share >= LEAST_SHARE and all(mutant.may_survive for mutant in survivors) else 1


if __name__ == "__main__":
    sys.exit(main())
