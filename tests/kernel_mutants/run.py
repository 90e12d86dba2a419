"""`python -m kernel_mutants.run` from tests/: breaks the kernels place by place, and tells what the tests notice."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from cuda_emulator import unavailable
from cuda_emulator.build_cache import cache_folder
from kernel_mutants.catalogue import MUTANTS
from kernel_mutants.judge import Court, Verdict, in_court
from kernel_mutants.mutant import Mutant, MutantError, kernel_files, sources_with
from kernel_mutants.report import LEAST_SHARE, Judged, share_killed, write

_COMMAND = "python -m kernel_mutants.run --write"


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the mutants; 0 if enough are killed, and every survivor has its reason."""
    parser = argparse.ArgumentParser(prog="python -m kernel_mutants.run", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/mutants.md and mutants.json")
    parser.add_argument("--only", default="", help="a regular expression: only mutants whose 'file: name' it finds")
    given = parser.parse_args(arguments)
    if reason := unavailable():
        print(f"error: {reason}", file=sys.stderr)
        return 2
    chosen = [mutant for mutant in MUTANTS if re.search(given.only, mutant.id)]
    if not chosen or (given.write and len(chosen) < len(MUTANTS)):
        print("error: --only finds no mutant" if not chosen else "error: --write is for all mutants", file=sys.stderr)
        return 2
    codes: list[int] = []
    sources = set[str]().union(*(sources_with(mutant.file) for mutant in chosen))
    try:
        _check(chosen)
        with _own_folder() as folder:
            in_court(folder, sources, lambda court: codes.append(_judge(court, chosen, sources, given.write)))
    except MutantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return codes[0]


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


def _judge(court: Court, chosen: Sequence[Mutant], sources: set[str], save: bool) -> int:
    unchanged = court.unchanged(sources)
    if unchanged.killed:
        raise MutantError(f"the kernels as they are fail {unchanged.test}: {unchanged.message}")
    print(f"unchanged: {sum(unchanged.tests.values())} tests pass in {unchanged.seconds:.0f} s", flush=True)
    judged = []
    for mutant in chosen:
        each = Judged(mutant, court.judge(mutant))
        judged.append(each)
        verdict = each.verdict
        outcome = f"{verdict.stage}: {verdict.test}: {verdict.message}" if verdict.killed else "SURVIVED"
        print(
            f"{verdict.seconds:5.1f} s  {mutant.file}:{each.line}  {mutant.kind}: {mutant.name} -- {outcome}",
            flush=True,
        )
    return _conclude(judged, unchanged, save)


def _conclude(judged: Sequence[Judged], unchanged: Verdict, save: bool) -> int:
    survivors = [each.mutant for each in judged if not each.verdict.killed]
    share = share_killed(judged)
    print(f"{len(judged)} mutants, {len(judged) - len(survivors)} killed ({100 * share:.1f} %)")
    for mutant in survivors:
        print(f"survived: {mutant.id} ({mutant.may_survive or 'no reason known'})")
    for each in judged:
        if each.verdict.killed and each.mutant.may_survive:
            print(f"killed, although it may survive: {each.mutant.id}")
    if save:
        write(judged, unchanged, _COMMAND)
    return 0 if share >= LEAST_SHARE and all(mutant.may_survive for mutant in survivors) else 1


if __name__ == "__main__":
    sys.exit(main())
