"""Times the parts of a training step: kernels on the GPU backend, operations on the others."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from itertools import repeat
from math import prod
from statistics import median
from typing import Any

import numpy as np

from benchmarks.clock import Clock, time_each
from benchmarks.kernels.ceilings import Ceilings
from benchmarks.kernels.launches import NEXT_BATCH, Work, work_of
from cnn.backends import Ops, RandomKey
from cnn.kernels import Kernel


@dataclass
class Timed:
    """A part of the step: its number of calls, and the seconds of one call."""

    work: Work
    seconds: float  # the median
    least: float
    calls: int = 1

    @property
    def total(self) -> float:
        """Seconds of the step."""
        return self.calls * self.seconds

    def row(self, ceilings: Ceilings, whole: float) -> dict[str, Any]:
        """The measurements in types of JSON. `whole` is the seconds of all parts together."""
        moved, flops, unit = self.work.moved, self.work.flops, self.work.unit
        floor = ceilings.floor(moved, flops, unit)
        rate, arithmetic = (amount / self.seconds if self.seconds else 0.0 for amount in (moved, flops))
        return {
            "name": self.work.name,
            "arrays": {name: list(shape) for name, shape in self.work.arrays},
            "shapes": self.work.shapes(),
            "calls": self.calls,
            "seconds": self.seconds,
            "least_seconds": self.least,
            "bytes": moved,
            "flops": flops,
            "bytes_per_second": rate,
            "flops_per_second": arithmetic,
            "fraction_of_bandwidth": rate / ceilings.bandwidth,
            "fraction_of_arithmetic": arithmetic / ceilings.peak(unit),
            "floor_seconds": floor,
            "times_floor": self.seconds / floor if floor else None,
            "bound": ceilings.bound(moved, flops, unit),
            "fraction_of_step": self.total / whole if whole else 0.0,
        }


def time_launches(
    ops: Any,
    step: Callable[[], Any],
    clock: Clock,
    repeats: int,
    chosen: Callable[[Work], bool] = lambda _: True,
) -> list[Timed]:
    """Every kernel that `step` launches on the backend `ops`, timed with the arguments of the launch.

    Only what is `chosen` is timed, which is asked of each launch in turn. A kernel runs more often than in the step, so
    the model has no valid state afterwards.
    """
    found: dict[Work, Timed] = {}

    def observe(kernel: Kernel, arguments: dict[str, Any]) -> None:
        work = work_of(kernel, arguments)
        if not chosen(work):
            return
        if work in found:
            found[work].calls += 1
            return
        ops.launch.observe = None
        fresh = _fresh(ops, kernel.name, arguments, repeats)
        try:
            times = time_each(clock, lambda: ops.launch(kernel.name, *next(fresh).values()), repeats)
        finally:
            ops.launch.observe = observe
        found[work] = Timed(work, median(times), min(times))

    ops.launch.observe = observe
    try:
        step()
    finally:
        ops.launch.observe = None
    return list(found.values())


def _fresh(ops: Any, name: str, arguments: dict[str, Any], repeats: int) -> Iterator[dict[str, Any]]:
    """The arguments for each repetition of a part, with a new clock each time, so that an epoch does not end."""
    clocks = [ops.array(ops.to_numpy(arguments["clock"])) for _ in range(2 + repeats)] if name in NEXT_BATCH else ()
    return iter([{**arguments, "clock": clock} for clock in clocks]) if clocks else repeat(arguments)


_NO_OPERATIONS = {"array", "constant", "empty", "zeros", "copy_in", "to_numpy", "capture", "beside", "join"}


class ObservedOps:
    """A replacement of a backend that reports each operation."""

    def __init__(self, ops: Ops) -> None:
        self._ops = ops
        self.observe: Callable[[str, dict[str, Any], Callable[..., Any]], Any] | None = None

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._ops, name)
        if not callable(attribute) or name in _NO_OPERATIONS:
            return attribute
        signature = inspect.signature(attribute)

        def operation(*given: Any, **options: Any) -> Any:
            if self.observe is None:
                return attribute(*given, **options)
            return self.observe(name, dict(signature.bind(*given, **options).arguments), attribute)

        return operation


def time_operations(ops: ObservedOps, step: Callable[[], Any], clock: Clock, repeats: int) -> list[Timed]:
    """Every operation that `step` calls on the backend, timed likewise. Only the arithmetic of products is counted."""
    found: dict[Work, Timed] = {}

    def observe(name: str, arguments: dict[str, Any], operation: Callable[..., Any]) -> Any:
        fresh = _fresh(ops, name, arguments, repeats)
        result = operation(**arguments)
        work = _operation(name, arguments, result)
        if work in found:
            found[work].calls += 1
        else:
            times = time_each(clock, lambda: operation(**next(fresh)), repeats)
            found[work] = Timed(work, median(times), min(times))
        return result

    ops.observe = observe
    try:
        step()
    finally:
        ops.observe = None
    return list(found.values())


def _operation(name: str, arguments: dict[str, Any], result: Any) -> Work:
    if name == "gather_batch":  # reads only the images of the batch
        arguments = {**arguments, "images": arguments["images"][: len(result)]}
    if name in NEXT_BATCH:
        arguments = {**arguments, "order": result[0], "labels": result[1], "schedule": arguments["schedule"][:1]}
    given, made = list(_arrays(arguments.values())), list(_arrays((result,)))
    arrays = [(key, array.shape) for key, value in arguments.items() for array in _arrays((value,))]
    arrays += [("result", array.shape) for array in made]
    others = tuple((key, repr(_without_arrays(value))) for key, value in arguments.items())
    moved = sum(array.nbytes for array in given + made)
    return Work(name, tuple(arrays), others, moved, _product_flops(name, given, made))


def _arrays(values: Iterable[Any]) -> Iterator[np.ndarray]:
    """The arrays among values, in sequences and in fields; of a random key none."""
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, list | tuple):
            yield from _arrays(value)
        elif is_dataclass(value) and not isinstance(value, RandomKey):
            yield from _arrays(getattr(value, field.name) for field in fields(value))


def _without_arrays(value: Any) -> Any:
    """The arguments besides arrays that distinguish two calls, without random keys, which do not change the work."""
    if isinstance(value, np.ndarray | RandomKey):
        return None
    if isinstance(value, list | tuple):
        return [_without_arrays(each) for each in value]
    if is_dataclass(value):
        return type(value).__name__, [_without_arrays(getattr(value, field.name)) for field in fields(value)]
    return value


def _product_flops(name: str, given: list[np.ndarray], made: list[np.ndarray]) -> int:
    """Two per multiplication: outputs times taps times channels of a group, or rows times columns times k."""
    if name == "conv2d":
        return 2 * made[0].size * prod(given[1].shape[:3])
    if name == "conv2d_backward_input":
        return 2 * given[0].size * prod(given[1].shape[:3])
    if name == "conv2d_backward_filter":
        return 2 * given[0].size * prod(made[0].shape[:3])
    if name in ("dense", "dense_backward_input"):
        return 2 * given[0].shape[0] * given[1].size
    if name == "dense_backward_filter":
        return 2 * given[0].shape[0] * made[0].size
    return 0
