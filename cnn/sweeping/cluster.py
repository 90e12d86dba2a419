"""A job on a cluster, which may take the machine away and give another one later."""

from __future__ import annotations

from typing import Any

from cnn.sweeping.processes import ProcessJob, run_process


class RequeuedJob:
    """Runs a job for submitit. After a preemption or at the time limit it is queued again, and goes on where it was."""

    def __call__(self, job: ProcessJob, threads: int | None) -> int:
        """Run the job; its exit status."""
        return run_process(job, threads)

    def checkpoint(self, job: ProcessJob, threads: int | None) -> Any:
        """What submitit submits again: the same, because a job goes on from the checkpoint in its folder."""
        from submitit.helpers import DelayedSubmission  # noqa: PLC0415

        return DelayedSubmission(self, job, threads)
