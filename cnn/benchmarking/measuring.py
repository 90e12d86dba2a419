"""Times what a training step does, part by part: kernels on the GPU backend, operations on the others."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from statistics import median
from typing import Any

import numpy as np

from cnn.backends import Ops, RandomKey
from cnn.benchmarking.ceilings import Ceilings
from cnn.benchmarking.clock import Clock, time_each
from cnn.benchmarking.launches import Work, work_of
from cnn.kernels import Kernel


@dataclass
class Timed:
    """A part of the step: how often it comes in it, and how long each time takes by itself."""

    work: Work
    seconds: float  # the median
    least: float
    calls: int = 1

    @property
    def total(self) -> float:
        """Seconds of the step."""
        return self.calls * self.seconds

    def row(self, ceilings: Ceilings, whole: float) -> dict[str, Any]:
        """All that is said about it, in types that JSON knows. `whole` are the seconds of all parts together."""
        moved, flops = self.work.moved, self.work.flops
        floor = ceilings.floor(moved, flops)
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
            "share_of_bandwidth": rate / ceilings.bandwidth,
            "share_of_arithmetic": arithmetic / ceilings.arithmetic,
            "floor_seconds": floor,
            "times_floor": self.seconds / floor if floor else None,
            "bound": ceilings.bound(moved, flops),
            "share_of_step": self.total / whole if whole else 0.0,
        }


def time_launches(ops: Any, step: Callable[[], Any], clock: Clock, repeats: int) -> list[Timed]:
    """Every kernel that `step` launches on the backend `ops`, with the very arguments that it is launched with.

    A kernel runs often where the step would run it once, so what the step leaves in the model is no use.
    """
    found: dict[Work, Timed] = {}

    def observe(kernel: Kernel, arguments: dict[str, Any]) -> None:
        work = work_of(kernel, arguments)
        if work in found:
            found[work].calls += 1
            return
        ops.launch.observe = None
        try:
            times = time_each(clock, lambda: ops.launch(kernel.name, *arguments.values()), repeats)
        finally:
            ops.launch.observe = observe
        found[work] = Timed(work, median(times), min(times))

    ops.launch.observe = observe
    try:
        step()
    finally:
        ops.launch.observe = None
    return list(found.values())


class ObservedOps:
    """A backend whose operations can be listened to; it stands where the backend stands."""

    def __init__(self, ops: Ops) -> None:
        self._ops = ops
        self.observe: Callable[[str, dict[str, Any], Callable[[], Any]], Any] | None = None

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._ops, name)
        if not callable(attribute) or name in ("array", "to_numpy", "zeros_like"):
            return attribute

        def operation(*arguments: Any, **options: Any) -> Any:
            def run() -> Any:
                return attribute(*arguments, **options)

            return self.observe(name, named(arguments), run) if self.observe else run()

        names = list(inspect.signature(attribute).parameters)

        def named(arguments: tuple[Any, ...]) -> dict[str, Any]:
            return dict(zip(names, arguments, strict=False))

        return operation


def time_operations(ops: ObservedOps, step: Callable[[], Any], clock: Clock, repeats: int) -> list[Timed]:
    """Every operation that `step` asks of the backend, timed likewise. Only products have their arithmetic counted."""
    found: dict[Work, Timed] = {}

    def observe(name: str, arguments: dict[str, Any], run: Callable[[], Any]) -> Any:
        result = run()
        work = _operation(name, arguments, result)
        if work in found:
            found[work].calls += 1
        else:
            times = time_each(clock, run, repeats)
            found[work] = Timed(work, median(times), min(times))
        return result

    ops.observe = observe
    try:
        step()
    finally:
        ops.observe = None
    return list(found.values())


def _operation(name: str, arguments: dict[str, Any], result: Any) -> Work:
    if name == "gather_batch":  # reads the batch's pictures, not all that there are
        arguments = {**arguments, "images": arguments["images"][: len(result)]}
    given, made = list(_arrays(arguments.values())), list(_arrays((result,)))
    arrays = [(key, array.shape) for key, value in arguments.items() for array in _arrays((value,))]
    arrays += [("result", array.shape) for array in made]
    others = tuple(
        (key, repr(value))
        for key, value in arguments.items()
        if not isinstance(value, RandomKey) and not list(_arrays((value,)))  # keys differ and change nothing
    )
    moved = sum(array.nbytes for array in given + made)
    return Work(name, tuple(arrays), others, moved, _product_flops(name, given, made))


def _arrays(values: Iterable[Any]) -> Iterator[np.ndarray]:
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, list | tuple) and any(isinstance(each, np.ndarray) for each in value):
            yield from _arrays(value)


def _product_flops(name: str, given: list[np.ndarray], made: list[np.ndarray]) -> int:
    """Two for each multiplication: outputs times taps times channels of a group, or rows times columns times k."""
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
