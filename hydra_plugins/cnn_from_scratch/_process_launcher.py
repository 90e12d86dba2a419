"""The common part of the launchers that run jobs as processes of their own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from cnn.sweeping.processes import ProcessJob


class ProcessLauncher(Launcher):
    """Runs `cnn.sweeping.launching.launch`; a subclass says how the jobs are distributed."""

    takes_many = True  # jobs in one call, and runs them at the same time

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `launch`."""
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run the jobs, and return their results in the order of `job_overrides`."""
        from cnn.sweeping.launching import launch  # noqa: PLC0415

        return launch(self.config, self.hydra_context, job_overrides, initial_job_idx, self.distribute)

    @abstractmethod
    def distribute(self, jobs: Sequence[ProcessJob]) -> Iterable[tuple[int, int]]:
        """Run the jobs, and yield place and exit status of each as it ends."""
