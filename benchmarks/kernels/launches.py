"""The cost of one launch of a kernel: bytes moved and floating-point operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from cnn.backends.reference.arrays import TENSOR_CORES
from cnn.kernels import Argument, Kernel

# Operations, and their kernels, that advance the clock.
NEXT_BATCH = ("next_batch", "next_augmented_batch")

# Whether a kernel writes an array is in its declaration, `const` or not. These are the exceptions.
# Elements that a kernel reads of an array, if not all of them:
READ_IN_PART: Mapping[tuple[str, str], Callable[[Mapping[str, Any]], int]] = {
    # the batch's images
    **{
        (name, "images"): lambda v: v["n"] * v["h"] * v["w"] * v["c"]
        for name in ("gather_batch", "gather_batch_of_floats")
    },
    **{(name, array): lambda v: v["count"] for name in NEXT_BATCH for array in ("order", "labels")},
    **{(name, "schedule"): lambda v: v["width"] for name in NEXT_BATCH},
}
# Arrays that are read and written:
UPDATED = {
    ("running_average", "running"),
    *(
        (f"tail{pool}{dropout}{storage}", "running")
        for pool in ("", "_pool")
        for dropout in ("", "_dropout")
        for storage in ("", "_bf16")
    ),
    ("l2_penalty_backward", "dw"),
    *(
        (name, array)
        for name in ("cross_entropy", "soft_cross_entropy")
        for array in ("totals", "row_losses", "outcomes")
    ),
    ("blend", "into"),
    ("sgd_update", "param"),
    ("sgd_update", "velocity"),
    ("adam_update", "param"),
    ("adam_update", "first"),
    ("adam_update", "second"),
    ("clip_to_norm", "grad"),
    *((name, "clock") for name in NEXT_BATCH),
}
# Of every kernel: what blocks write for the block that merges it, and the counters at which they meet.
UPDATED_EVERYWHERE = {"parts", "tile_moments", "counters"}

# Scalars that do not change the work, and are ignored when launches are compared.
_IDLE_SCALARS = {"seed_low", "seed_high", "stream", "move_stream", "warp_stream", "crop_stream", "tone_stream"}


@dataclass(frozen=True)
class Work:
    """A part of a training step: launches with the same kernel, shapes and sizes, or calls of an operation."""

    name: str
    arrays: tuple[tuple[str, tuple[int, ...]], ...]  # names and shapes
    numbers: tuple[tuple[str, Any], ...]  # other arguments that distinguish it from parts of the same name
    moved: int = field(compare=False)  # bytes
    flops: int = field(compare=False)
    unit: str = field(compare=False, default="float32")  # that multiplies: as of `Ceilings.peak`

    def shapes(self, most: int = 3) -> str:
        """The largest arrays, grouped by shape: `dy, dx 64×24×24×128`."""
        names: dict[tuple[int, ...], list[str]] = {}
        for name, shape in self.arrays:
            names.setdefault(shape, [])
            if name not in names[shape]:  # lists of arrays have one name
                names[shape].append(name)
        largest = sorted(names, key=prod, reverse=True)[:most]
        return "; ".join(f"{', '.join(names[shape])} {'×'.join(map(str, shape)) or '1'}" for shape in largest)


def work_of(kernel: Kernel, arguments: Mapping[str, Any]) -> Work:
    """The work of a launch, from the arguments of `Launcher.observe`."""
    values = {a.name: scalar(arguments[a.name]) for a in kernel.arguments if not a.pointer}
    arrays = {a.name: arguments[a.name] for a in kernel.arguments if a.pointer and arguments[a.name] is not None}
    shapes = [(name, tuple(array.shape)) for name, array in arrays.items()]
    numbers = {
        a.name: values[a.name]
        for a in kernel.arguments
        if not a.pointer and a.name not in _IDLE_SCALARS and a.dtype.kind != "f"
    }
    return Work(
        kernel.name,
        tuple(shapes),
        tuple((name, _hashable(value)) for name, value in numbers.items()),
        sum(
            moved(kernel.name, argument, int(arrays[argument.name].size), values)
            for argument in kernel.arguments
            if argument.name in arrays
        ),
        int(kernel.flops(values)),
        _unit(kernel),
    )


def _unit(kernel: Kernel) -> str:
    if kernel.min_arch < TENSOR_CORES:
        return "float32"
    return "bfloat16" if kernel.storage == "bfloat16" else "tf32"


def moved(kernel: str, argument: Argument, elements: int, values: Mapping[str, Any]) -> int:
    """Bytes that a kernel reads or writes of an array of that many elements: each once, twice if it updates them."""
    where = kernel.removesuffix("_bf16"), argument.name
    if part := READ_IN_PART.get(where):
        elements = min(elements, part(values))
    twice = where in UPDATED or (argument.name in UPDATED_EVERYWHERE and not argument.const)
    return elements * argument.dtype.itemsize * (2 if twice else 1)


def scalar(value: Any) -> Any:
    """A scalar argument as a Python number, a struct as its fields by name."""
    if getattr(value, "dtype", None) is not None and value.dtype.names:
        record = value.reshape(-1)[0]
        return {name: record[name].tolist() for name in value.dtype.names}
    return value.item() if hasattr(value, "item") else value


def count_launches(ops: Any, step: Callable[[], Any]) -> dict[Work, int]:
    """The launches of one call of `step` on the backend `ops`, in order, and their numbers."""
    counts: dict[Work, int] = {}

    def observe(kernel: Kernel, arguments: dict[str, Any]) -> None:
        work = work_of(kernel, arguments)
        counts[work] = counts.get(work, 0) + 1

    ops.launch.observe = observe
    try:
        step()
    finally:
        ops.launch.observe = None
    return counts


def product_flops(counts: Mapping[Work, int], names: Iterable[str]) -> int:
    """The operations of all launches of kernels whose names have this prefix."""
    beginnings = tuple(names)
    return sum(work.flops * calls for work, calls in counts.items() if work.name.startswith(beginnings))


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((name, _hashable(each)) for name, each in value.items())
    return tuple(value) if isinstance(value, list) else value
