"""Launches the jobs of a sweep as processes, with whatever distributes them: the common part of the launchers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from cnn.sweeping.processes import ProcessJob, last_line
from foundation.errors import UserError

# Runs the jobs, and yields place and exit status of each as it ends.
Distribute = Callable[[Sequence[ProcessJob]], Iterable[tuple[int, int]]]

# What says where a job runs; the process gets it from the launcher.
_OF_THE_LAUNCHER = (
    *("hydra.sweep.", "hydra.sweeper", "hydra.launcher", "hydra/sweeper", "hydra/launcher", "hydra.run.dir"),
    *("hydra.output_subdir", "hydra.mode", "hydra.job.env_set", "resume"),
)


def launch(
    config: DictConfig,
    context: HydraContext,
    job_overrides: Sequence[Sequence[str]],
    first: int,
    distribute: Distribute,
) -> list[JobReturn]:
    """The results of the jobs in their order. `config` is that of the sweep, `first` the number of the first job.

    `distribute` runs them; the leaderboard's callback is told of each job as it ends.
    """
    setup_globals()
    composed = [_composed(config, context, overrides, first + place) for place, overrides in enumerate(job_overrides)]
    jobs = [_process(config, each) for each in composed]
    results: dict[int, JobReturn] = {}
    before = HydraConfig.instance().cfg
    try:
        for place, status in distribute(jobs):
            HydraConfig.instance().set_config(composed[place])
            results[place] = _result(composed[place], jobs[place], status)
            context.callbacks.on_job_end(config=composed[place], job_return=results[place])
    finally:
        HydraConfig.instance().cfg = before
    return [results[place] for place in range(len(jobs))]


def _composed(config: DictConfig, context: HydraContext, overrides: Sequence[str], number: int) -> DictConfig:
    job = context.config_loader.load_sweep_config(config, list(overrides))
    with read_write(job), open_dict(job), read_write(job.hydra.runtime):
        job.hydra.job.id = number
        if OmegaConf.is_missing(job.hydra.job, "num"):
            job.hydra.job.num = number
        HydraConfig.instance().set_config(job)
        cwd = Path(job.hydra.runtime.cwd)
        job.hydra.runtime.output_dir = str((cwd / job.hydra.sweep.dir / str(job.hydra.sweep.subdir)).resolve())
    return job


def _process(config: DictConfig, job: DictConfig) -> ProcessJob:
    """The command line of a job whose config is composed."""
    own = [*job.hydra.overrides.task, *job.hydra.overrides.hydra]
    kept = [each for each in map(str, own) if not each.lstrip("+~").startswith(_OF_THE_LAUNCHER)]
    sources = [
        f"--config-dir={source.path}"
        for source in config.hydra.runtime.config_sources
        if source.provider == "command-line"
    ]
    environment = OmegaConf.to_container(job.hydra.job.env_set, resolve=True)
    assert isinstance(environment, dict)
    return ProcessJob(
        folder=job.hydra.runtime.output_dir,
        arguments=(*sources, f"--config-name={job.hydra.job.config_name}", *kept),
        cwd=job.hydra.runtime.cwd,
        environment={str(key): str(value) for key, value in environment.items()},
    )


def _result(job: DictConfig, process: ProcessJob, status: int) -> JobReturn:
    result = JobReturn(overrides=list(job.hydra.overrides.task), cfg=job, hydra_cfg=job, working_dir=process.cwd)
    if status == 0:
        result.status, result.return_value = JobStatus.COMPLETED, None
    else:
        result.status = JobStatus.FAILED
        result.return_value = UserError(f"{Path(process.folder).name}: {last_line(Path(process.folder))}")
    return result
