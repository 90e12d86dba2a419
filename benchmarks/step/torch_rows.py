"""Times PyTorch's training of the same network on one batch: one row per mode."""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.clock import HostClock, Marks, TorchEvents, time_through
from benchmarks.torch_reference import TorchReference, float32_switches, one_line
from benchmarks.workload import Options
from cnn.models import Model


@dataclass(frozen=True)
class TorchMode:
    """How PyTorch runs. Always with channels last in memory."""

    compiled: str | None  # the mode of `torch.compile`, None for eager
    bf16: bool  # autocast

    @property
    def name(self) -> str:
        """For tables."""
        kind = {None: "eager", "default": "compiled"}.get(self.compiled, f"compiled {self.compiled}")
        return f"{kind}, {'bf16 autocast' if self.bf16 else 'fp32'}"


MODES = {
    "eager": (TorchMode(None, False), TorchMode(None, True)),
    "compiled": (TorchMode("default", False), TorchMode("default", True)),
}
# In bf16, the modes with CUDA graphs too; the fastest is not the same everywhere.
BF16 = tuple(TorchMode(compiled, True) for compiled in (None, "default", "reduce-overhead", "max-autotune"))


def modes_of(choice: Any) -> list[TorchMode]:
    """The modes in `benchmark.torch`."""
    if not choice:
        return []
    return [*MODES["eager"], *(MODES["compiled"] if choice == "auto" else ())]


def torch_row(
    options: Options,
    model: Model,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    mode: TorchMode,
    device: str,
    steps: int,
    warm_up: int,
) -> dict[str, Any]:
    """Time PyTorch's training of the network on one batch in `mode`; the row of a failure has its error."""
    row: dict[str, Any] = {"mode": mode.name}
    torch: Any = importlib.import_module("torch")
    try:
        with float32_switches():
            begun = time.perf_counter()
            step = _training_step(options, TorchReference(model, device), images, labels, mode)
            for _ in range(warm_up):
                step()
            clock: Marks = TorchEvents() if device == "cuda" else HostClock(device)
            clock.wait()
            row["warm_up_seconds"] = time.perf_counter() - begun
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            seconds = time_through(clock, step, steps)
            row |= {"seconds": seconds, "images_per_second": len(images) / seconds}
            if device == "cuda":
                row["peak_bytes"] = int(torch.cuda.max_memory_allocated())
                row["reserved_bytes"] = int(torch.cuda.max_memory_reserved())
    except Exception as error:
        # A build of PyTorch may lack a compiler, an operation or memory, which must not prevent the other rows.
        row["error"] = one_line(error)
    finally:
        step = None  # type: ignore[assignment]
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
    return row


def _training_step(
    options: Options,
    reference: TorchReference,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    mode: TorchMode,
) -> Callable[[], None]:
    torch, device = reference.torch, reference.device
    optimizer, penalty_in_loss = reference.optimizer(options.optimizer)
    batch, targets = reference.images(images), reference.labels(labels)
    reference.module.train()

    def loss_of(x: Any, y: Any) -> Any:
        with torch.autocast(device, torch.bfloat16, enabled=mode.bf16):
            logits = reference.module(x)
        loss = torch.nn.functional.cross_entropy(logits.float(), y)
        return loss + reference.penalty() if penalty_in_loss else loss

    if mode.compiled is not None:
        torch.compiler.reset()
        loss_of = torch.compile(loss_of, dynamic=False, mode=mode.compiled)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(batch, targets).backward()
        optimizer.step()

    return step
