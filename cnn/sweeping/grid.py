"""A sweep over all combinations of values."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence

from hydra.core.override_parser.types import Override

from cnn.sweeping.space import fixed
from cnn.sweeping.sweep import Sweep, error_of
from foundation.errors import UserError


def combinations(overrides: Sequence[Override]) -> list[tuple[str, ...]]:
    """The overrides of each job. Raises `UserError` for an override without a list of values, such as an interval."""
    columns: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            columns[key] = [fixed(override)]
        elif override.is_discrete_sweep():
            columns[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise UserError(
                f"{override.input_line}: an interval has no list of values to go through; a search has them, with "
                "hydra/sweeper=optuna"
            )
    return list(itertools.product(*columns.values()))


def run_grid(sweep: Sweep, overrides: Sequence[Override]) -> None:
    """Run the jobs that are not done yet. Afterwards the first error of a job is raised."""
    with sweep.opened():
        jobs = [sweep.place(each, number) for number, each in enumerate(combinations(overrides))]
        left = list({job.folder: job for job in jobs if not job.done}.values())
        if len(left) < len(jobs):
            print(f"{len(jobs) - len(left)} of {len(jobs)} jobs are done already")
        results = zip(left, sweep.launch(left), strict=True)
        failed = [(job, error) for job, result in results if (error := error_of(result)) is not None]
        for job, error in failed:
            print(f"job {job.number} failed: {' '.join(str(error).split())}", file=sys.stderr)
        if failed:
            raise failed[0][1]
