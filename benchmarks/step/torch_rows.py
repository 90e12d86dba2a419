"""Times PyTorch's training of the same network on one batch: one row per mode."""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from benchmarks.clock import HostClock, Marks, TorchEvents, time_through
from benchmarks.torch_reference import TorchReference, float32_switches, one_line
from cnn.assembly import optimizer_settings
from cnn.models import Model

# PyTorch's modes: compiled or not, and the precision. Always with channels last in memory.
MODES = {
    "eager": (("eager, fp32", False, False), ("eager, bf16 autocast", False, True)),
    "compiled": (("compiled, fp32", True, False), ("compiled, bf16 autocast", True, True)),
}


def modes_of(choice: Any) -> list[tuple[str, bool, bool]]:
    """Name, whether compiled, and whether bf16, of the modes in `benchmark.torch`."""
    if not choice:
        return []
    return [*MODES["eager"], *(MODES["compiled"] if choice == "auto" else ())]


def torch_row(
    config: DictConfig,
    model: Model,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    mode: tuple[str, bool, bool],
    device: str,
    steps: int,
    warm_up: int,
) -> dict[str, Any]:
    """Time PyTorch's training of the network on one batch in `mode`; the row of a failure has its error."""
    name, compiled, bf16 = mode
    row: dict[str, Any] = {"mode": name}
    torch: Any = importlib.import_module("torch")
    try:
        with float32_switches():
            begun = time.perf_counter()
            step = _training_step(config, TorchReference(model, device), images, labels, compiled, bf16)
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
    config: DictConfig,
    reference: TorchReference,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    compiled: bool,
    bf16: bool,
) -> Callable[[], None]:
    torch, device = reference.torch, reference.device
    optimizer, penalty_in_loss = reference.optimizer(optimizer_settings(config))
    batch, targets = reference.images(images), reference.labels(labels)
    reference.module.train()

    def loss_of(x: Any, y: Any) -> Any:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            logits = reference.module(x)
        loss = torch.nn.functional.cross_entropy(logits.float(), y)
        return loss + reference.penalty() if penalty_in_loss else loss

    if compiled:
        torch.compiler.reset()
        loss_of = torch.compile(loss_of, dynamic=False)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(batch, targets).backward()
        optimizer.step()

    return step
