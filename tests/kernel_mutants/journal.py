"""Verdicts that are kept, so that a run goes on where an earlier one stopped, and several share the work.

A verdict holds for a mutant and the kernels that it reaches as they were. That a test noticed it holds as long as the
file of that test is the same; that none did, as long as all tests are. The repository has the verdicts that were
written last, so that a run also goes on in a fresh clone.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock

from cnn.kernels import FOLDER
from cuda_emulator.build_cache import fingerprint
from kernel_mutants.judge import Verdict
from kernel_mutants.mutant import Mutant, closure
from kernel_mutants.stages import TESTS

_OF_TESTS = ("backends", "cuda_ops", "cuda_emulator")
_UNCHANGED = "the kernels as they are"


class Journal:
    """The verdicts in a file, a line of JSON each; `None` stands for the kernels as they are.

    Verdicts of the file `recorded`, if it is there, count too; it has the same lines, and is only read.
    """

    def __init__(self, path: Path, recorded: Path | None = None) -> None:
        self._path = path
        self._recorded = recorded
        self._lock = FileLock(path.with_suffix(".lock"))

    def verdict(self, mutant: Mutant | None, sources: set[str]) -> Verdict | None:
        """What became of a mutant whose tests look at the `.cu` files `sources`, if it is known."""
        return next(self.verdicts([(mutant, sources)]))

    def verdicts(self, mutants: Iterable[tuple[Mutant | None, set[str]]]) -> Iterator[Verdict | None]:
        """As `verdict`, of many: the files are read once."""
        entries = self._read()
        for mutant, sources in mutants:
            known = entries.get(_key(mutant, sources))
            yield known[1] if known and known[0] == _tests(known[1].test) else None

    def add(self, mutant: Mutant | None, sources: set[str], verdict: Verdict) -> None:
        """Keep a verdict."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(_line(mutant, sources, verdict) + "\n")

    def save(self, path: Path, mutants: Sequence[tuple[Mutant | None, set[str]]]) -> None:
        """Write the verdicts that hold, of these mutants with their sources, as a file of the same kind."""
        known = zip(mutants, self.verdicts(mutants), strict=True)
        lines = [f"{_line(*mutant, verdict)}\n" for mutant, verdict in known if verdict]
        path.write_text("".join(lines), encoding="utf-8")

    def _read(self) -> dict[str, tuple[str, Verdict]]:
        known: dict[str, tuple[str, Verdict]] = {}
        with self._lock:
            lines = [*_lines(self._recorded), *_lines(self._path)]
        for text in lines:
            try:
                entry = json.loads(text)
            except ValueError:  # cut short
                continue
            values = {each.name: entry[each.name] for each in dataclasses.fields(Verdict)}
            verdict = Verdict(**values | {"noticed_by": tuple(entry["noticed_by"])})
            known[entry["key"]] = entry.get("noticing", ""), verdict
        return known


def _line(mutant: Mutant | None, sources: set[str], verdict: Verdict) -> str:
    """A verdict as a line of the file."""
    holds = {
        "key": _key(mutant, sources),
        "id": mutant.id if mutant else _UNCHANGED,
        "noticing": _tests(verdict.test),
    }
    return json.dumps(holds | dataclasses.asdict(verdict), ensure_ascii=False)


def _lines(path: Path | None) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []


def _key(mutant: Mutant | None, sources: set[str]) -> str:
    files = sorted(set().union(*(closure(source) for source in sources)))
    texts = [f"{name}\n{(FOLDER / name).read_text(encoding='utf-8')}" for name in files]
    change = [] if mutant is None else [mutant.file, mutant.old, mutant.new, str(mutant.nth), str(mutant.of)]
    return fingerprint(*change, *texts)


@functools.cache
def _tests(noticed: str) -> str:
    """Of the file of the test `noticed`, whose path is shortened as in `Verdict.test`; of all tests if it is empty."""
    paths = [path for folder in _OF_TESTS for path in sorted((TESTS / folder).rglob("*")) if path.is_file()]
    file = noticed.partition("::")[0]
    if file:
        paths = [path for path in paths if path in (TESTS / file, TESTS / "backends" / file)]
    return fingerprint(*(path.read_bytes() for path in paths if "__pycache__" not in path.parts))
