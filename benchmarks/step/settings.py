"""The settings of `python -m cnn.benchmark`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cnn.models.precision import check_precision
from foundation.errors import UserError


@dataclass
class BenchmarkSettings:
    """The config group `benchmark`."""

    models: list[str] = field(default_factory=lambda: ["baseline", "resnet9"])
    batch_sizes: list[int] = field(default_factory=lambda: [64, 256, 1024])
    image_size: int = 48
    channels: int = 1
    classes: int = 7
    images: int = 16384  # in the random data set from which batches are selected
    steps: int = 50  # of training, timed together
    repeats: int = 30  # of each kernel; the median is reported
    precision: str = "float32"  # of ours: float32, bfloat16, tf32, or auto
    kernels: bool = True  # time each kernel separately
    torch: Any = "auto"  # auto: eager and compiled if PyTorch is installed; eager; or false
    quick: bool = False  # fewer steps and repeats, smaller ceilings, no compiled PyTorch

    def __post_init__(self) -> None:
        for name in ("models", "batch_sizes"):
            if not getattr(self, name):
                raise UserError(f"benchmark.{name} is empty: there would be nothing to measure")
        for name in ("image_size", "channels", "classes", "images", "steps", "repeats"):
            if getattr(self, name) < 1:
                raise UserError(f"benchmark.{name} must be at least 1, not {getattr(self, name)}")
        check_precision(self.precision, "benchmark.precision")
        if wrong := [size for size in self.batch_sizes if size < 2]:
            raise UserError(f"benchmark.batch_sizes must be at least 2 each, for batch norm's sake, not {wrong[0]}")
        if self.torch in (False, "false"):
            self.torch = False
        elif self.torch not in ("auto", "eager"):
            raise UserError(f"benchmark.torch is {self.torch!r}; choose auto, eager or false")
        if self.quick:
            self.steps, self.repeats = min(self.steps, 20), min(self.repeats, 10)
            self.torch = self.torch and "eager"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(h, w, c) of the random images."""
        return self.image_size, self.image_size, self.channels
