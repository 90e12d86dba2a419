"""`hydra/launcher=ray`: the jobs as tasks of Ray, on this machine or a cluster whose machines see the same folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra_plugins.cnn_from_scratch._process_launcher import ProcessLauncher

if TYPE_CHECKING:
    from cnn.sweeping.processes import ProcessJob


class RayLauncher(ProcessLauncher):
    """Ray places each job where its cores and GPUs are free."""

    def __init__(self, num_cpus: int, num_gpus: float, init: Mapping[str, Any] | None = None) -> None:
        """`num_cpus` and `num_gpus` are those of a job, `init` the arguments of `ray.init`."""
        self._cpus, self._gpus = num_cpus, num_gpus
        self._init = {key: value for key, value in (init or {}).items() if value is not None}

    def distribute(self, jobs: Sequence[ProcessJob]) -> Iterator[tuple[int, int]]:
        """Run the jobs, and yield place and exit status of each as it ends."""
        from cnn.sweeping.processes import run_process  # noqa: PLC0415
        from foundation.extras import needed  # noqa: PLC0415

        ray = needed("ray", "hydra/launcher=ray", "ray")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers of each use
        own = not ray.is_initialized()
        if own:
            ray.init(**{"include_dashboard": False, "log_to_driver": False, "logging_level": "warning"} | self._init)
        print(f"{len(jobs)} jobs by Ray, {self._cpus} cores each; what each prints is in its job.log")
        try:
            task = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_retries=0)(run_process)
            running = {task.remote(job, self._cpus): place for place, job in enumerate(jobs)}
            while running:
                (ended,), _ = ray.wait(list(running), num_returns=1)
                place = running.pop(ended)
                try:
                    yield place, ray.get(ended)
                except ray.exceptions.RayError as error:
                    print(f"Ray lost job {place}: {error}")
                    yield place, 1
        finally:
            if own:
                ray.shutdown()
