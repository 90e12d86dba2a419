"""The processes that train one network together, as the loop sees them. Here one process; see `cnn.distributed`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from cnn.backends import Array
from cnn.models import Model


class Alone:
    """One process. Methods are called by all processes of a run at the same place, and return the same in each."""

    rank = 0  # only the process of rank 0 writes files
    size = 1

    def backward(self, model: Model, saved: Any, dlogits: Array) -> None:
        """Fill the gradients of the model, of the mean loss of the whole batch; dlogits is that of the own part."""
        model.backward(saved, dlogits)

    def part(self, count: int) -> slice:
        """The own part of `count` images that are not trained on."""
        return slice(0, count)

    def joined(self, own: NDArray[Any], count: int) -> NDArray[Any]:
        """The `count` rows of all processes: of each its `part`, in order."""
        return own

    def summed(self, numbers: Sequence[float]) -> list[float]:
        """The sums over the processes."""
        return list(numbers)

    def decided(self, wish: bool) -> bool:
        """What the process of rank 0 wishes."""
        return wish

    def end_epoch(self, epoch: int, models: Sequence[Model]) -> None:
        """Give the models the same running statistics. Raises `UserError` if their weights differ."""

    def wait(self) -> None:
        """Wait until all processes are here."""
