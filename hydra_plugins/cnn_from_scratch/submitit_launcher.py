"""`hydra/launcher=submitit`: each job is one of SLURM or, without a cluster, of submitit's local executor."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_plugins.cnn_from_scratch._process_launcher import ProcessLauncher

if TYPE_CHECKING:
    from cnn.sweeping.processes import ProcessJob


class SubmititLauncher(ProcessLauncher):
    """Submits the jobs and looks now and then which of them have ended."""

    def __init__(
        self, cluster: str | None, at_once: int | None, poll: float, parameters: Mapping[str, Any] | None = None
    ) -> None:
        """See conf/hydra/launcher/submitit.yaml."""
        self._cluster, self._at_once, self._poll = cluster, at_once, poll
        self._parameters = {key: value for key, value in (parameters or {}).items() if value is not None}

    def distribute(self, jobs: Sequence[ProcessJob]) -> Iterator[tuple[int, int]]:
        """Run the jobs, and yield place and exit status of each as it ends."""
        from cnn.reporting.sweeps import state_of  # noqa: PLC0415
        from cnn.sweeping.cluster import RequeuedJob  # noqa: PLC0415
        from cnn.sweeping.jobs import DONE  # noqa: PLC0415
        from cnn.sweeping.processes import available, shares  # noqa: PLC0415
        from foundation.extras import needed  # noqa: PLC0415

        submitit = needed("submitit", "hydra/launcher=submitit", "submitit")
        # A new folder each time: submitit keeps pickles in it, and reads none but those of this call.
        above = Path(self.config.hydra.runtime.cwd) / self.config.hydra.sweep.dir / ".submitit"
        above.mkdir(parents=True, exist_ok=True)
        executor = submitit.AutoExecutor(tempfile.mkdtemp(dir=above), self._cluster)
        executor.update_parameters(**self._parameters)
        local = executor.cluster in ("local", "debug")
        most = available(self._at_once, "hydra.launcher.at_once") if local or self._at_once else len(jobs)
        threads = len(shares(min(most, len(jobs)))[0]) if local else None  # SLURM sets the cores of a job
        print(f"{len(jobs)} jobs by submitit ({executor.cluster}); what each prints is in its job.log")
        waiting = list(enumerate(jobs))[::-1]
        running: dict[int, Any] = {}
        while waiting or running:
            if waiting and len(running) < most:
                with executor.batch():  # one array for SLURM
                    while waiting and len(running) < most:
                        place, job = waiting.pop()
                        running[place] = executor.submit(RequeuedJob(), job, threads)
            ended = [place for place, submitted in running.items() if submitted.done()]
            for place in ended:
                del running[place]
                # By its files and not by submitit's result, which is a pickle.
                yield place, 0 if state_of(Path(jobs[place].folder)) in DONE else 1
            if not ended:
                time.sleep(self._poll)
