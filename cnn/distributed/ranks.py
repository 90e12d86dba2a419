"""Makes a trainer one of several processes that train the same network."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Array, Ops
from cnn.distributed.ranked_ops import RankedOps, ranked
from cnn.distributed.reduction import GradientSum
from cnn.distributed.transports import HostTransport, NcclTransport, Transport
from cnn.distributed.world import World
from cnn.models import Model
from cnn.training.batches import BatchMaker
from cnn.training.loop import Trainer
from cnn.training.losses import CrossEntropy
from cnn.training.ranks import Alone
from foundation.errors import UserError

_Kind = TypeVar("_Kind")


class Ranks(Alone):
    """Several processes, as the training loop sees them."""

    def __init__(self, world: World, ops: RankedOps) -> None:
        self.rank, self.size = world.rank, world.size
        self._world, self._ops = world, ops
        self._sums: tuple[Model, GradientSum] | None = None

    def backward(self, model: Model, saved: Any, dlogits: Array) -> None:
        """Fill the gradients of the model, of the mean loss of the whole batch; dlogits is that of the own part."""
        if self._sums is None or self._sums[0] is not model:
            self._sums = model, GradientSum(model, self._ops.transport, self.size)
        sums = self._sums[1]
        sums.begin(self._ops.part.weight)
        model.backward(saved, dlogits, sums.done)
        sums.finish()

    def part(self, count: int) -> slice:
        """The own part of `count` images that are not trained on; all of them if there are fewer than processes."""
        if count < self.size:
            return slice(0, count)
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def joined(self, own: NDArray[Any], count: int) -> NDArray[Any]:
        """The `count` rows of all processes: of each its `part`, in order."""
        return own if count < self.size else self._world.all_gather_rows(own)

    def summed(self, numbers: Sequence[float]) -> list[float]:
        """The sums over the processes."""
        found: list[float] = self._world.all_gather(np.array(numbers, np.float64)).sum(axis=0).tolist()
        return found

    def decided(self, wish: bool) -> bool:
        """What the process of rank 0 wishes."""
        return bool(self._world.all_gather(np.array([wish]))[0, 0])

    def end_epoch(self, epoch: int, models: Sequence[Model]) -> None:
        """Give the models the mean of the processes' running statistics. Raises `UserError` if their weights differ."""
        ops = self._ops
        for model in models:
            if model.statistics.flat.size and not ops.shares:
                all_ranks = self._world.all_gather(np.asarray(ops.to_numpy(model.statistics.flat)))
                ops.copy_in(model.statistics.flat, all_ranks.mean(axis=0, dtype=np.float64).astype(model.dtype))
            own = zlib.crc32(np.ascontiguousarray(ops.to_numpy(model.values.flat)).data)
            if len(set(self._world.all_gather(np.array([own]))[:, 0].tolist())) > 1:
                raise UserError(
                    f"after epoch {epoch} the processes do not have the same weights: their processors or libraries "
                    "round differently; train on machines of one kind"
                )

    def wait(self) -> None:
        """Wait until all processes are here."""
        self._world.wait()


class RankBatches(BatchMaker):
    """Batches of which this process makes its own part."""

    ops: Any

    def begun(
        self,
        images: Array,
        indices: Array,
        labels: Array,
        moves: tuple[Array | None, Array | None, Array | None],
        mixing: Array,
    ) -> tuple[Array, Array, Array]:
        """The own images of a batch whose indices, labels and random moves are those of all processes.

        Images are mixed with partners from the other end of the batch, which are made too. So the labels and indices
        are then those of own images and partners, in the order in which `Ops.batch_targets` pairs them.
        """
        part = self.ops.begin_batch(len(indices))
        rows = [(part.begin, part.end)]
        if self.augment.mixes:
            rows.append((part.count - part.end, part.count - part.begin))

        def own(array: Array | None) -> Array | None:
            if array is None:
                return None
            made = self.ops.empty((sum(end - begin for begin, end in rows), *array.shape[1:]), array.dtype)
            at = 0
            for begin, end in rows:
                made[at : at + end - begin] = array[begin:end]
                at += end - begin
            return made

        own_moves = own(moves[0]), own(moves[1]), own(moves[2])
        x, own_labels, own_indices = super().begun(images, own(indices), own(labels), own_moves, mixing)
        return x[: part.end - part.begin], own_labels, own_indices


class RankLoss(CrossEntropy):
    """The loss of a process's part; an image of weight 0 is not counted."""

    ops: Any

    def __call__(self, logits: Array, labels: Array, totals: Array | None = None) -> tuple[Array, Array]:
        """See `CrossEntropy`."""
        return super().__call__(logits, labels, totals if self.ops.part.weight else None)


def ranked_backend(ops: Ops, world: World, transport: str, sync_batch_norm: bool) -> Ops:
    """The backend of one of the processes of `world`; `transport` is `trainer.distributed`, mpi or nccl.

    Raises `UserError` if the backend or CuPy has no NCCL.
    """
    moves: Transport = HostTransport(world, ops)
    if transport == "nccl":
        if ops.name != "cupy":
            raise UserError(f"trainer.distributed=nccl is for GPUs, and the backend is {ops.name}: take mpi")
        cupy: Any = importlib.import_module("cupy")
        if not getattr(cupy.cuda.nccl, "available", False):
            raise UserError("trainer.distributed=nccl: CuPy finds no NCCL (pip install nvidia-nccl-cu13); or take mpi")
        moves = NcclTransport.of_world(cupy, world)
    return ranked(ops, world.rank, world.size, moves, sync_batch_norm)


def distribute(trainer: Trainer, world: World) -> None:
    """In place: the trainer, whose model is on a `ranked_backend`, is one of the processes of `world`.

    Raises `UserError` for a batch that has too few images for that many processes.
    """
    ops: Any = trainer.model.ops
    size = trainer.settings.batch_size
    if size < world.size:
        raise UserError(f"trainer.batch_size={size} is divided among {world.size} processes: each needs an image")
    if not ops.shares and size < 2 * world.size and (name := trainer.model.norm_of_single_values) is not None:
        raise UserError(
            f"trainer.batch_size={size} gives a process one image, and {name} would have single values to normalise: "
            "take larger batches, or trainer.sync_batch_norm=true"
        )
    trainer.batches = _as(trainer.batches, RankBatches)
    trainer.loss = _as(trainer.loss, RankLoss)
    trainer.ranks = Ranks(world, ops)


def _as(one: Any, kind: type[_Kind]) -> _Kind:
    """`one` with the methods of a subclass of its own class."""
    made = kind.__new__(kind)
    made.__dict__.update(one.__dict__)
    return made
