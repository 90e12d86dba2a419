"""The jobs of a sweep and their folders: which are done, and where the others go.

A job is known by its options, not by its number. So a sweep that is started again finds what it has done already, also
if values were added to it in between, and a folder never holds the files of two jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnn.reporting.sweeps import ERROR, job_folders, options_of, read_overrides, state_of
from cnn.training.checkpoint import LAST
from foundation.command_line import quote
from foundation.errors import UserError
from foundation.run_lock import LOCK

DONE = ("finished", "pruned")
_LEFT_BY_A_START = {".hydra", ERROR, "job.log", ".job.lock", LOCK}  # what a job leaves that has not ended an epoch

Options = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Job:
    """One configuration of a sweep: its number, the overrides that make it, and its folder."""

    number: int
    overrides: tuple[str, ...]
    subdir: str  # of the sweep's folder
    folder: Path

    @property
    def done(self) -> bool:
        """Whether nothing is left to do: the run is finished, or the search has stopped it."""
        return state_of(self.folder) in DONE

    def arguments(self) -> list[str]:
        """The overrides for a launcher: the job's own, its folder, and that it goes on from its checkpoint."""
        place = [f"hydra.sweep.subdir={quote(self.subdir)}", f"hydra.job.num={self.number}"]
        if (self.folder / LAST).exists() and not self.done:
            # No output_subdir: the recorded options stay those of the job.
            place += [f"resume={quote(str(self.folder))}", "hydra.output_subdir=null"]
            return [*for_resuming(self.overrides), *place]
        return [*self.overrides, *place]


def for_resuming(overrides: Sequence[str]) -> list[str]:
    """The overrides that an interrupted job needs: what it is stands in its folder."""
    kept = ("hydra.", "-", "logger", "data.pack_dir")
    return [override for override in overrides if override.lstrip("+~").startswith(kept)]


class Places:
    """Finds the folder of each job of a sweep."""

    def __init__(self, sweep_dir: Path, subdir_of: Callable[[Sequence[str], int], str]) -> None:
        """`subdir_of(overrides, number)` is what `hydra.sweep.subdir` gives for a job of that number."""
        self._sweep_dir, self._subdir_of = sweep_dir, subdir_of
        self._known = {options: folder for folder, options in self._recorded()}
        self._taken = set(self._known.values())

    def _recorded(self) -> Iterator[tuple[Path, Options]]:
        for folder in job_folders(self._sweep_dir) if self._sweep_dir.is_dir() else ():
            if (overrides := read_overrides(folder)) is not None:
                yield folder, frozenset(overrides.items())

    def place(self, overrides: Sequence[str], number: int, exact: bool = False) -> Job:
        """The job of these overrides: in the folder that it had before, or in a free one.

        `number` is the first one to try; with `exact` no other is taken. Raises `UserError` if the folder that
        `hydra.sweep.subdir` names holds another job.
        """
        options = frozenset(options_of(overrides).items())
        if not exact and options in self._known:
            folder = self._known[options]
            return Job(number, tuple(overrides), folder.relative_to(self._sweep_dir).as_posix(), folder)
        tried: list[str] = []
        while (subdir := self._subdir_of(overrides, number)) not in tried:
            folder = self._sweep_dir / subdir
            if self._known.get(options) == folder or self._free(folder):
                self._known[options] = folder
                self._taken.add(folder)
                return Job(number, tuple(overrides), subdir, folder)
            tried.append(subdir)
            if not exact:
                number += 1
        raise UserError(
            f"{self._sweep_dir / tried[-1]} holds a job with other options: choose another hydra.sweep.dir, or a "
            "hydra.sweep.subdir that differs between jobs"
        )

    def _free(self, folder: Path) -> bool:
        if folder in self._taken or not folder.is_dir():
            return folder not in self._taken
        return {path.name for path in folder.iterdir()} <= _LEFT_BY_A_START
