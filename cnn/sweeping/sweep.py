"""What every sweeper does: one sweep in a folder at a time, done jobs left alone, the leaderboard shown at the end."""

from __future__ import annotations

import itertools
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from cnn.reporting.leaderboard import show_leaderboard
from cnn.reporting.sweeps import ERROR, METRICS
from cnn.sweeping.jobs import Job, Places
from cnn.training.checkpoint import LAST
from foundation.command_line import quote
from foundation.errors import UserError
from foundation.files import locked, remove_leftovers, write_text


class Sweep:
    """The folder of a sweep, and its launcher."""

    def __init__(self, config: DictConfig, context: HydraContext, launcher: Launcher) -> None:
        """`config` is that of the whole sweep; `launcher` runs its jobs."""
        self._config, self._context, self._launcher = config, context, launcher
        self.folder = Path(config.hydra.runtime.cwd) / config.hydra.sweep.dir
        self._places: Places | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the sweep's folder. After an error show the leaderboard; otherwise its callback does that.

        Raises `UserError` if another sweep is at work there.
        """

        def refuse() -> None:
            raise UserError(
                f"another sweep is at work in {self.folder}: wait for it, or choose another hydra.sweep.dir"
            )

        if any((self.folder / name).exists() for name in (LAST, METRICS)):
            raise UserError(f"hydra.sweep.dir={self.folder} holds a run: choose another folder")
        with locked(self.folder / ".sweep.lock", refuse):
            remove_leftovers(self.folder)
            write_text(self.folder / "multirun.yaml", OmegaConf.to_yaml(self._config))
            self._places = Places(self.folder, self._subdir)
            try:
                yield
            except BaseException as error:
                show_leaderboard(self.folder)
                if isinstance(error, KeyboardInterrupt):
                    place = quote(os.path.relpath(self.folder))
                    print(f"interrupted; the same command with hydra.sweep.dir={place} does the rest")
                raise

    def place(self, overrides: Sequence[str], number: int, exact: bool = False) -> Job:
        """The job of these overrides; see `Places.place`."""
        assert self._places is not None, "the sweep is not opened"
        return self._places.place(overrides, number, exact)

    def launch(self, jobs: Sequence[Job], more: Sequence[Sequence[str]] = ()) -> list[JobReturn]:
        """Run the jobs; `more` are further overrides of each. What a job raises is in its result."""
        results = self._launched(jobs, more)
        for job, result in zip(jobs, results, strict=True):
            if (error := error_of(result)) is not None and not (job.folder / ERROR).exists():  # before the task began
                write_text(job.folder / ERROR, "".join(traceback.format_exception(error)))
        return results

    def _launched(self, jobs: Sequence[Job], more: Sequence[Sequence[str]]) -> list[JobReturn]:
        ready = [job.arguments() + list(rest) for job, rest in zip(jobs, more or [()] * len(jobs), strict=True)]
        if getattr(self._launcher, "takes_many", False):
            return list(self._launcher.launch(ready, jobs[0].number)) if jobs else []
        # Hydra's own launcher numbers the jobs of a call in sequence.
        results: list[JobReturn] = []
        for _, group in itertools.groupby(enumerate(jobs), lambda item: item[1].number - item[0]):
            members = [place for place, _ in group]
            results += self._launcher.launch([ready[place] for place in members], jobs[members[0]].number)
        return results

    def _subdir(self, overrides: Sequence[str], number: int) -> str:
        job = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        with open_dict(job):
            job.hydra.job.num = job.hydra.job.id = number
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(job)  # for ${hydra:...}
        try:
            return str(OmegaConf.select(job, "hydra.sweep.subdir"))
        finally:
            HydraConfig.instance().cfg = before


def error_of(result: JobReturn) -> Any:
    """What a job raised, or None."""
    return result._return_value if result.status == JobStatus.FAILED else None
