"""One cell of the benchmark: a model at a batch size, measured whole, in parts, and beside PyTorch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from omegaconf import DictConfig

from cnn.backends import Ops
from cnn.benchmarking.ceilings import Ceilings
from cnn.benchmarking.clock import Clock, time_host, time_through
from cnn.benchmarking.measuring import ObservedOps, Timed, time_launches, time_operations
from cnn.benchmarking.models import model_config
from cnn.benchmarking.pytorch import TOLERANCE, differences, modes_of, torch_missing, torch_row
from cnn.benchmarking.settings import BenchmarkSettings
from cnn.benchmarking.workload import Workload
from cnn.models import Model

_COMPARED = 64  # pictures of the step that is held against PyTorch's
_DRAWS = 3


@dataclass(frozen=True)
class Bench:
    """What every cell is measured with."""

    config: DictConfig  # for its groups `optimizer` and `augment`
    settings: BenchmarkSettings
    ops: Ops
    clock: Clock
    ceilings: Ceilings

    def cell(self, name: str, batch: int) -> dict[str, Any]:
        """Everything about the model `name` with batches of `batch` images, in types that JSON knows.

        A batch that the device's memory does not hold is told in the cell.
        """
        cell: dict[str, Any] = {"model": name, "batch": batch}
        model = model_config(name)
        try:
            cell |= self._ours(model, batch)
        except MemoryError as error:  # CuPy's OutOfMemoryError is one
            cell["error"] = f"does not fit into memory: {str(error).strip().partition(chr(10))[0]}"[:160]
        self.clock.forget_memory()
        if self.settings.torch:
            cell["torch"] = self._torch(model, batch)
            self.clock.forget_memory()
        return cell

    def _workload(self, model: dict[str, Any], batch: int, ops: Any) -> Workload:
        return Workload(
            self.config,
            model,
            ops,
            input_shape=self.settings.input_shape,
            classes=self.settings.classes,
            images=self.settings.images,
            batch=batch,
        )

    def _ours(self, model: dict[str, Any], batch: int) -> dict[str, Any]:
        settings, clock = self.settings, self.clock
        clock.forget_memory()
        ops: Any = self.ops if hasattr(self.ops, "launch") else ObservedOps(self.ops)
        work = self._workload(model, batch, ops)
        for _ in range(5 if self.clock.on_gpu else 1):
            work.step()
        seconds = time_through(clock, work.step, settings.steps)
        peak = clock.memory_peak()
        on_one_batch = work.step_on_one_batch()
        on_one_batch()
        alone = time_through(clock, on_one_batch, settings.steps)
        found = {
            "parameters": work.model.trainable_count,
            "step": {
                "seconds": seconds,
                "images_per_second": batch / seconds,
                "host_seconds": time_host(clock, work.step, min(settings.steps, 20)),
                "peak_bytes": peak,
            },
            "step_on_one_batch": {"seconds": alone, "images_per_second": batch / alone},
        }
        if settings.kernels:
            timed = (
                time_operations(ops, work.step, clock, settings.repeats)
                if isinstance(ops, ObservedOps)
                else time_launches(ops, work.step, clock, settings.repeats)
            )
            found |= self._parts(timed)
        return found

    def _parts(self, timed: list[Timed]) -> dict[str, Any]:
        whole = sum(each.total for each in timed)
        rows = [each.row(self.ceilings, whole) for each in timed]
        return {
            "kernels": sorted(rows, key=lambda row: -row["share_of_step"]),
            "kernel_seconds": whole,
            "kernel_launches": sum(each.calls for each in timed),
            "floor_seconds": sum(row["calls"] * row["floor_seconds"] for row in rows),
        }

    def _torch(self, model: dict[str, Any], batch: int) -> dict[str, Any]:
        if missing := torch_missing():
            return {"missing": missing}
        settings, device = self.settings, "cuda" if self.clock.on_gpu else "cpu"
        random = np.random.default_rng(1)
        images = random.standard_normal((batch, *settings.input_shape), np.float32)
        labels = random.integers(0, settings.classes, batch)
        ours = self._workload(model, 2, self.ops).model
        found: dict[str, Any] = {}
        try:
            found |= self._compared(model, ours, device, min(batch, _COMPARED))
        except Exception as error:
            # PyTorch without the device, say; the rows below then tell the same, each for itself.
            found |= {"difference": {"error": f"{type(error).__name__}: {error}"[:160]}, "same_step": False}
        self.clock.forget_memory()
        found["modes"] = [
            torch_row(self.config, ours, images, labels, mode, device, settings.steps, 10 if self.clock.on_gpu else 1)
            for mode in modes_of(settings.torch)
        ]
        return found

    def _compared(self, model: dict[str, Any], ours: Model, device: str, count: int) -> dict[str, Any]:
        """How far a step is from PyTorch's, in the first draw in which it is no further than is tolerated.

        A ReLU or a maximum that a rounding decides turns a gradient elsewhere, which is nobody's mistake; a network
        that is another one is so in every draw.
        """
        best: dict[str, float] = {}
        for seed in range(1, _DRAWS + 1):
            random = np.random.default_rng(seed)
            images = random.standard_normal((count, *self.settings.input_shape), np.float32)
            labels = random.integers(0, self.settings.classes, count)
            found = differences(model, ours, images, labels, device, seed)
            if not best or found["gradients"] < best["gradients"]:
                best = found
            if max(best["loss"], best["gradients"]) <= TOLERANCE:
                return {"difference": best, "same_step": True}
        return {"difference": best, "same_step": False}

    def record(self, cells: list[dict[str, Any]], figures: dict[str, float]) -> dict[str, Any]:
        """All that was measured."""
        return {
            "settings": asdict(self.settings),
            "optimizer": str(self.config.optimizer.name),
            "backend": self.ops.name,
            "device": self.clock.facts(),
            "method": self.clock.method,
            "ceilings": {
                "bytes_per_second": self.ceilings.bandwidth,
                "flops_per_second": self.ceilings.arithmetic,
                "measured": figures,
            },
            "cells": cells,
        }
