"""A backend whose batches are parts of larger ones: what a network computes over a whole batch, and draws for it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Activation, Array, Dropout, Ops, RandomKey, Stage
from cnn.backends.reference.tail import Tail
from cnn.distributed.transports import Transport

if TYPE_CHECKING:
    _Base = Ops
else:
    _Base = object


@dataclass(frozen=True)
class Part:
    """A process's part of a batch of `count` images: those from `begin` on, up to `end`.

    `weights` (size,) are the parts of all processes as fractions of the batch. A process that would have none of a
    small batch computes its first image with the weight 0, so that it has a part in every sum.
    """

    begin: int
    end: int
    count: int
    weights: NDArray[np.float32]
    weight: np.float32  # its own

    @classmethod
    def of(cls, count: int, rank: int, size: int) -> Part:
        """The part of process `rank`: no two parts differ by more than one image."""
        bounds = [count * each // size for each in range(size + 1)]
        weights = (np.diff(bounds) / count).astype(np.float32)
        begin, end = bounds[rank : rank + 2]
        return cls(*((begin, end) if end > begin else (0, 1)), count, weights, weights[rank])


class RankedOps(_Base):
    """Over a backend. `begin_batch` sets the part that the operations of the training step are for.

    Dropout draws by an element's place in the whole batch. With `shares` the moments of batch norms, and the sums in
    their gradients, are over the whole batch (synchronised batch norm); without, over the part alone. Steps are not
    recorded: communication between processes is no part of a CUDA graph here.
    """

    rank: int
    size: int
    transport: Transport
    part: Part
    fuses_dropout: bool  # whether the backend draws dropout in the pass of a norm, from the batch's first element

    def begin_batch(self, count: int) -> Part:
        """Begin a step of `count` images over all processes: the part of this one."""
        self.part = Part.of(count, self.rank, self.size)
        return self.part

    def share_moments(self, moments: Array) -> None:
        if not self.shares:
            return
        found = self.transport.gather(moments).astype(np.float64)
        weights = self.array(self.part.weights.astype(np.float64))[:, None]
        mean = (found[:, 0] * weights).sum(axis=0)
        moments[1] = ((found[:, 1] + (found[:, 0] - mean) ** 2) * weights).sum(axis=0)
        moments[0] = mean

    def share_sums(self, *sums: Array) -> None:
        if not self.shares:
            return
        ends = np.cumsum([each.size for each in sums]).tolist()
        own = self.empty((ends[-1],), sums[0].dtype)
        for each, end in zip(sums, ends, strict=True):
            own[end - each.size : end] = each.reshape(-1) * self.part.weight
        total = self.transport.gather(own).sum(axis=0)
        for each, end in zip(sums, ends, strict=True):
            each[...] = total[end - each.size : end].reshape(each.shape)

    def dropout(self, x: Array, rate: float, key: RandomKey, first: int = 0) -> Array:
        return super().dropout(x, rate, key, first + self.part.begin * (x.size // len(x)))

    def drop_path(self, x: Array, rate: float, key: RandomKey, first: int = 0) -> Array:
        return super().drop_path(x, rate, key, first + self.part.begin)

    def tail(self, x: Array, stages: Sequence[Stage], keep: bool = True) -> tuple[Array, Any]:
        alone = self.fuses_dropout and any(isinstance(stage, Dropout) for stage in stages)
        return Tail.tail(self, x, stages, keep) if alone else super().tail(x, stages, keep)

    def tail_backward(
        self, dy: Array, stages: Sequence[Stage], saved: Any, before: tuple[Activation, Array] | None = None
    ) -> tuple[Array, list[Array]]:
        if self.fuses_dropout and any(isinstance(stage, Dropout) for stage in stages):
            return Tail.tail_backward(self, dy, stages, saved, before)
        return super().tail_backward(dy, stages, saved, before)

    def beside(self, *read: Array) -> AbstractContextManager[None]:
        return nullcontext()  # a block's gradients are sent when its pass is over

    def capture(self, step: Any) -> Any:
        return step


def ranked(ops: Ops, rank: int, size: int, transport: Transport, sync_batch_norm: bool) -> Ops:
    """`ops` as one of `size` processes, which must not compute anything else with it."""
    kind = type(f"Ranked{type(ops).__name__}", (RankedOps, type(ops)), {"__doc__": type(ops).__doc__})
    made: Any = copy.copy(ops)
    made.__class__ = kind
    made.rank, made.size, made.transport, made.shares = rank, size, transport, sync_batch_norm
    made.fuses_dropout, made.replays = ops.name == "cupy", False
    made.part = Part.of(size, rank, size)
    return made
