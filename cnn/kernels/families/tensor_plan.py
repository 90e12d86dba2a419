"""A product by tensor cores as it is asked for, and what it gets by the estimate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cnn.kernels.families.tensor_rules import (
    TensorTile,
    choose_gather,
    choose_wgrad,
    gather_candidates,
    runs_on,
    wgrad_candidates,
)
from cnn.kernels.tile_choice import Device, Product

FORWARD, BACKWARD_INPUT, BACKWARD_FILTER = "tensor_forward", "tensor_backward_input", "tensor_backward_filter"


@dataclass(frozen=True)
class TensorProduct:
    """What decides on the tile of a product by tensor cores.

    `rows` are the pixels: of the result, or, of a filter gradient, those that it sums over. The product is over the
    taps' c channels to n columns; a filter gradient has taps * c rows.
    """

    function: str  # FORWARD, BACKWARD_INPUT or BACKWARD_FILTER
    element: str  # of the operands: "bfloat16", or "float" for tf32
    rows: int
    n: int
    c: int
    taps: int
    may_split: bool = True

    @property
    def product(self) -> Product:
        """As a matrix product."""
        if self.function == BACKWARD_FILTER:
            return Product(self.taps * self.c, self.n, self.rows)
        return Product(self.rows, self.n, self.taps * self.c, pieces=self.taps)

    def candidates(self, device: Device) -> list[TensorTile]:
        """The tiles that can compute it on the device. They do not differ in where they cut a sum."""
        candidates = wgrad_candidates if self.function == BACKWARD_FILTER else gather_candidates
        return runs_on(candidates(self.c, self.n, self.element), device)


# From a product and the device to the tile and the number of parts of the sum.
TensorPlan = Callable[[TensorProduct, Device], tuple[TensorTile, int]]


def estimate(product: TensorProduct, device: Device) -> tuple[TensorTile, int]:
    """The tile and the number of parts by the estimate of time."""
    element, c, n = product.element, product.c, product.n
    if product.function == BACKWARD_FILTER:
        return choose_wgrad(product.taps, c, n, product.rows, device, element)
    return choose_gather(product.rows, n, c, product.taps, device, product.may_split, element)
