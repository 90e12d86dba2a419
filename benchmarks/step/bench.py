"""Measures models at several batch sizes: the step, its parts, and PyTorch."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.clock import Clock, time_host, time_through
from benchmarks.kernels.ceilings import Ceilings, CeilingSizes, measure_ceilings
from benchmarks.models import model_config, without_dropout
from benchmarks.records import finite
from benchmarks.step.parts import ObservedOps, Timed, time_launches, time_operations
from benchmarks.step.report import markdown
from benchmarks.step.settings import BenchmarkSettings
from benchmarks.step.torch_rows import modes_of, torch_row
from benchmarks.torch_comparison import TOLERANCE, checked_batch, differences, largest
from benchmarks.torch_reference import one_line, torch_facts, torch_missing
from benchmarks.workload import SEED, Options, Workload, noise, standardized
from cnn.backends import Ops
from cnn.models import Model, build_model
from cnn.models.precision import ops_of_precision, resolve_precision, storage_of
from cnn.reporting.provenance import collect_provenance
from foundation.files import write_json, write_text


def run(
    settings: BenchmarkSettings,
    options: Options,
    ops: Ops,
    clock: Clock,
    folder: Path,
    command: str,
    sizes: CeilingSizes | None = None,
    name: str = "benchmark",
) -> dict[str, Any]:
    """Every model at every batch size, in `<name>.json` and `<name>.md` in the folder.

    The files are written after each, so that an interrupted run has its results.
    """
    for model in settings.models:
        model_config(model)  # so that a wrong name fails at the beginning
    provenance = collect_provenance()
    sizes = sizes or (CeilingSizes.quick() if settings.quick else CeilingSizes())
    ceilings, figures = measure_ceilings(ops, clock, sizes)
    bench = Bench(options, settings, ops, clock, ceilings)
    metadata: dict[str, Any] = {"command": command, "provenance": provenance}
    if settings.torch and not torch_missing():
        metadata["torch"] = torch_facts()
    cells: list[dict[str, Any]] = []
    record: dict[str, Any] = {}
    for model, batch in itertools.product(settings.models, settings.batch_sizes):
        cells.append(bench.cell(model, batch))
        record = finite(metadata | bench.record(cells, figures))
        write_json(folder / f"{name}.json", record)
        write_text(folder / f"{name}.md", markdown(record))
    return record


@dataclass(frozen=True)
class Bench:
    """The common settings of all cells."""

    options: Options
    settings: BenchmarkSettings
    ops: Ops
    clock: Clock
    ceilings: Ceilings

    def cell(self, name: str, batch: int) -> dict[str, Any]:
        """The measurements of the model `name` with batches of `batch` images, in types of JSON.

        If the batch does not fit the device's memory, the cell has the error.
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

    def _build(self, model: dict[str, Any], ops: Any, precision: str = "float32") -> Model:
        settings = self.settings
        own = ops_of_precision(precision, ops)
        return build_model(model, own, settings.input_shape, settings.classes, SEED, storage=storage_of(precision))

    def _ours(self, model: dict[str, Any], batch: int) -> dict[str, Any]:
        settings, clock = self.settings, self.clock
        clock.forget_memory()
        ops: Any = self.ops if hasattr(self.ops, "launch") else ObservedOps(self.ops)
        data = noise(max(settings.images, batch), settings.input_shape, settings.classes)
        precision = resolve_precision(settings.precision, self.ops, "benchmark.precision")
        work = Workload(self.options, self._build(model, ops, precision), *data, batch)
        for _ in range(5 if self.clock.on_gpu else 1):
            work()
        seconds = time_through(clock, work, settings.steps)
        found = {
            "precision": precision,
            "parameters": work.model.trainable_count,
            "step": {
                "seconds": seconds,
                "images_per_second": batch / seconds,
                "host_seconds": time_host(clock, work, min(settings.steps, 20)),
                "peak_bytes": clock.memory_peak(),
            },
        }
        if settings.kernels:
            work.begin_epoch()
            step = lambda: work.step.run(batch)  # noqa: E731 - without capture
            timed = (
                time_operations(ops, step, clock, settings.repeats)
                if isinstance(ops, ObservedOps)
                else time_launches(work.model.ops, step, clock, settings.repeats)
            )
            found |= self._parts(timed)
        return found

    def _parts(self, timed: list[Timed]) -> dict[str, Any]:
        whole = sum(each.total for each in timed)
        rows = [each.row(self.ceilings, whole) for each in timed]
        return {
            "kernels": sorted(rows, key=lambda row: -row["fraction_of_step"]),
            "kernel_seconds": whole,
            "kernel_launches": sum(each.calls for each in timed),
            "floor_seconds": sum(row["calls"] * row["floor_seconds"] for row in rows),
        }

    def _torch(self, model: dict[str, Any], batch: int) -> dict[str, Any]:
        if missing := torch_missing():
            return {"missing": missing}
        settings, device = self.settings, "cuda" if self.clock.on_gpu else "cpu"
        found: dict[str, Any] = {}
        try:
            found |= self._compared(model, batch, device)
        except Exception as error:
            # For example PyTorch without the device; then each of the rows below has the same error.
            found |= {"difference": {"error": one_line(error)}, "same_step": False}
        self.clock.forget_memory()
        images, labels = noise(batch, settings.input_shape, settings.classes)
        ours = self._build(model, self.ops)
        x = standardized(images)
        found["modes"] = [
            torch_row(self.options, ours, x, labels, mode, device, settings.steps, 10 if self.clock.on_gpu else 1)
            for mode in modes_of(settings.torch)
        ]
        return found

    def _compared(self, model: dict[str, Any], batch: int, device: str) -> dict[str, Any]:
        """The difference of a step from PyTorch's, and whether it is within the tolerance."""
        ours = self._build(without_dropout(model), self.ops)
        images, labels = noise(checked_batch(batch), self.settings.input_shape, self.settings.classes)
        found = differences(self.options, ours, images, labels, device=device)
        return {"difference": found, "same_step": largest({"channels_last": found})[0] <= TOLERANCE}

    def record(self, cells: list[dict[str, Any]], figures: dict[str, float]) -> dict[str, Any]:
        """All that was measured."""
        return {
            "settings": asdict(self.settings),
            "optimizer": self.options.optimizer.name,
            "backend": self.ops.name,
            "device": self.clock.facts(),
            "method": self.clock.method,
            "ceilings": {
                "bytes_per_second": self.ceilings.bandwidth,
                "flops_per_second": self.ceilings.arithmetic,
                "tensor_flops_per_second": self.ceilings.tensor,
                "measured": figures,
            },
            "cells": cells,
        }
