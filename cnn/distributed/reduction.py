"""The gradient of a whole batch from those of its parts, summed while the backward pass goes on.

The arena of gradients is cut into buckets. When the backward pass has filled a bucket, each process sends a slice of
it to every process, adds up the slices that it gets, in the order of the ranks, and sends the sum to all: the two
halves of an all-reduce, written out, because a library may add in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cnn.backends import Array
from cnn.distributed.transports import Ready, Transport
from cnn.models import Model

BUCKET = 1 << 20  # bytes at least


@dataclass
class _Bucket:
    begin: int  # elements of the arena
    end: int
    nodes: set[int]  # whose gradients they are
    missing: set[int] = field(default_factory=set)
    own: Array = None  # (size, n): the slices, padded to equal lengths
    received: Array = None  # (size, n): the own slice of every process
    sums: Array = None  # (size, n): the slices of the sum
    ready: Ready | None = None  # for the transfer that is on its way
    gathering: bool = False


class GradientSum:
    """Sums the gradients of one model."""

    def __init__(self, model: Model, transport: Transport, size: int) -> None:
        self._flat, self._transport = model.gradients.flat, transport
        self._buckets = _buckets(model)
        self._under_way: list[_Bucket] = []
        self._weight = np.float32(1)
        for bucket in self._buckets:
            length = -(-(bucket.end - bucket.begin) // size)
            arrays = [model.ops.zeros((size, length), self._flat.dtype) for _ in range(3)]
            bucket.own, bucket.received, bucket.sums = arrays

    def begin(self, weight: np.float32) -> None:
        """Begin a backward pass, whose gradients have this weight in the sum."""
        self._weight = weight
        for bucket in self._buckets:
            bucket.missing = set(bucket.nodes)

    def done(self, nodes: Sequence[int]) -> None:
        """The gradients of these nodes are complete."""
        for bucket in self._buckets:
            if not bucket.missing:
                continue
            bucket.missing.difference_update(nodes)
            if not bucket.missing:
                with self._transport.beside():
                    own = bucket.own.reshape(-1)
                    own[: bucket.end - bucket.begin] = self._flat[bucket.begin : bucket.end] * self._weight
                    bucket.ready = self._transport.begin_exchange(bucket.own, bucket.received)
                bucket.gathering = False
                self._under_way.append(bucket)
        self._advance(wait=False)

    def finish(self) -> None:
        """Wait until the arena has the sums."""
        while self._under_way:
            self._advance(wait=True)
        self._transport.join()

    def _advance(self, wait: bool) -> None:
        """Go on with what has arrived, in the order in which it was sent."""
        for bucket in list(self._under_way):
            assert bucket.ready is not None
            if not bucket.ready(wait):
                return
            with self._transport.beside():
                if bucket.gathering:
                    own = bucket.sums.reshape(-1)
                    self._flat[bucket.begin : bucket.end] = own[: bucket.end - bucket.begin]
                    self._under_way.remove(bucket)
                    continue
                total = bucket.received[0]
                for other in bucket.received[1:]:
                    total += other
                bucket.ready, bucket.gathering = self._transport.begin_gather(total, bucket.sums), True


def _buckets(model: Model) -> list[_Bucket]:
    """The trained part of the arena in buckets, in the order in which the backward pass fills them.

    Tensors with weight decay come first in the arena, in the order of the nodes, then the others likewise. The latter
    are small, and one bucket.
    """
    places = [
        (model.gradients.begin(name), index)
        for index in range(len(model.graph.nodes))
        for name in model.trained_names(index)
    ]
    found: list[_Bucket] = []
    for first, last, least in ((model.decayed, model.trained, model.trained), (0, model.decayed, 0)):
        end, nodes = last, set[int]()
        for begin, index in sorted((each for each in places if first <= each[0] < last), reverse=True):
            nodes.add(index)
            if (end - begin) * model.dtype.itemsize >= BUCKET and least == 0:
                found.append(_Bucket(begin, end, nodes))
                end, nodes = begin, set()
        if nodes:
            found.append(_Bucket(first, end, nodes))
    return sorted(found, key=lambda bucket: -min(bucket.nodes))
