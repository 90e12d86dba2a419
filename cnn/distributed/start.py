"""The start of a training run on several processes: are they meant, and what does each of them compute with?"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig

from cnn.assembly import BackendSettings, ops_of
from cnn.backends import Ops
from cnn.distributed.ranks import ranked_backend
from cnn.distributed.world import World, communicator, world
from foundation.config import typed
from foundation.errors import UserError


def world_of(config: DictConfig) -> World:
    """The processes of the run. Raises `UserError` if there are several and `trainer.distributed` is none."""
    here = world()
    if config.trainer.get("distributed", "none") == "none":
        if here.size > 1:
            raise UserError(
                f"mpiexec started {here.size} processes, but trainer.distributed is none: give trainer.distributed=mpi"
            )
        return World()
    return here if here.communicator is not None else World(communicator())


def rank_backend(config: DictConfig, here: World) -> Ops:
    """The backend of this process: its part of the machine's cores, or one of its GPUs."""
    if here.communicator is None:
        return ops_of(config)
    settings = typed(config, "backend", BackendSettings)
    place, neighbours = here.neighbours()
    if settings.threads is None and settings.name in ("auto", "cpu") and "CNN_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        os.environ["CNN_THREADS"] = str(max(1, cores // neighbours))
    if settings.name in ("auto", "cupy"):
        _take_gpu(place)
    ops = ops_of(config)
    trainer = config.trainer
    return ranked_backend(ops, here, trainer.distributed, trainer.get("sync_batch_norm", True))


def _take_gpu(place: int) -> None:
    """Compute on a GPU of the machine: the processes on it take them in turn."""
    try:
        cupy: Any = importlib.import_module("cupy")
        cupy.cuda.Device(place % cupy.cuda.runtime.getDeviceCount()).use()
    except Exception:  # no CuPy, no driver, no GPU: `ops_of` says so, or takes the CPU
        return


@contextmanager
def first_before_others(here: World) -> Iterator[None]:
    """The process of rank 0 runs the block, then the others run it, and find what it has made."""
    if here.rank:
        here.wait()
    yield
    if not here.rank:
        here.wait()
