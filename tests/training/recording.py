"""Backends that watch a training step, and one that records it and replays it as a GPU does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from cnn.backends import Ops


def watching(base: type[Ops], *arguments: Any) -> Any:
    """A backend of the class `base` that counts in `transfers` what passes between host and device."""

    class Watching(base):  # type: ignore[misc, valid-type]
        def __init__(self):
            self.transfers = Counter()
            super().__init__(*arguments)

        def array(self, values):
            self.transfers["array"] += 1
            return super().array(values)

        def constant(self, values):
            self.transfers["constant"] += 1
            return super().constant(values)

        def copy_in(self, target, values):
            self.transfers["copy_in"] += 1
            super().copy_in(target, values)

        def to_numpy(self, x):
            self.transfers["to_numpy"] += 1
            return super().to_numpy(x)

    return Watching()


class Replaying(Ops):
    """Records a step's operations when it first runs. From then on it calls those operations alone, with the same
    arguments, and what they return goes into the arrays that they returned at first.

    So whatever the step does on the host happens once, as where a GPU replays a graph.
    """

    def __init__(self) -> None:
        self.captures = 0
        self._tape: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]] | None = None

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        self.captures += 1
        tape: list[Any] = []

        def run() -> None:
            if not tape:
                self._tape = tape
                step()
                self._tape = None
                return
            for operation, arguments, options, returned in tape:
                _overwrite(returned, operation(*arguments, **options))

        return run

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        # In what runs beside the rest each operation is recorded by itself.
        tape = None if name.startswith("_") or name in ("beside", "join") else self._tape
        if tape is None or not callable(found):
            return found
        assert name not in ("array", "constant", "copy_in", "to_numpy"), f"{name} cannot be recorded"

        def recorded(*arguments: Any, **options: Any) -> Any:
            self._tape = None  # what the operation calls is part of it
            returned = found(*arguments, **options)
            self._tape = tape
            tape.append((found, arguments, options, returned))
            return returned

        return recorded


def _overwrite(old: Any, new: Any) -> None:
    """Every array in `old` takes the values of that in `new`, which is built alike."""
    if isinstance(old, np.ndarray):
        old[...] = new
    elif isinstance(old, list | tuple):
        for one, other in zip(old, new, strict=True):
            _overwrite(one, other)
    elif is_dataclass(old):
        for field in fields(old):
            _overwrite(getattr(old, field.name), getattr(new, field.name))
    else:
        assert old == new
