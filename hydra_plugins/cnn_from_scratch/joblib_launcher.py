"""`hydra/launcher=joblib`: several jobs at a time on this machine, its cores divided among them."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hydra_plugins.cnn_from_scratch._process_launcher import ProcessLauncher

if TYPE_CHECKING:
    from cnn.sweeping.processes import ProcessJob


class JoblibLauncher(ProcessLauncher):
    """Joblib's threads start the processes and wait for them; nothing is pickled."""

    def __init__(self, n_jobs: int | None = None) -> None:
        """`n_jobs` at a time; None for one per core."""
        self._n_jobs = n_jobs

    def distribute(self, jobs: Sequence[ProcessJob]) -> Iterator[tuple[int, int]]:
        """Run the jobs, and yield place and exit status of each as it ends."""
        from joblib import Parallel, delayed  # noqa: PLC0415

        from cnn.sweeping.processes import available, run_process, shares  # noqa: PLC0415

        at_once = min(available(self._n_jobs, "hydra.launcher.n_jobs"), len(jobs))
        free: queue.Queue[list[int]] = queue.Queue()
        for cores in shares(at_once):
            free.put(cores)
        print(f"{len(jobs)} jobs, {at_once} at a time; what each prints is in its job.log")

        def run(place: int, job: ProcessJob) -> tuple[int, int]:
            cores = free.get()
            try:
                return place, run_process(job, len(cores), cores)
            finally:
                free.put(cores)

        parallel = Parallel(at_once, backend="threading", batch_size=1, return_as="generator_unordered")
        yield from parallel(delayed(run)(place, job) for place, job in enumerate(jobs))
