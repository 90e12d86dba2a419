"""The range of 16-bit and floating-point values: decided for a whole source, so that its images stay comparable.

A camera of 12 bits writes values up to 4,095 into files of 16; their upper byte would be nearly black. The largest
value of one image does not decide, because a dark image would become as bright as a light one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_BITS = (8, 10, 12, 14, 16)
_CLEAR = 128.0  # fractions are taken for values of 0 to 255 if the largest of a source is at least this


@dataclass(frozen=True, slots=True)
class Span:
    """The largest value of one image, and whether all its values are whole numbers."""

    highest: float
    whole: bool
    floating: bool


@dataclass(frozen=True, slots=True)
class ValueRange:
    """Values from 0 to `top` become 0 to 255. `text` says so to the person."""

    top: int  # 1, or 2 ** bits - 1
    text: str

    def reduce(self, values: np.ndarray) -> np.ndarray:
        """`values`, uint16 or float32 of any shape, as uint8; whole numbers lose their lowest bits, others round."""
        if values.dtype == np.uint8:
            return values
        if values.dtype == np.uint16 and self.top > 1:
            bits = self.top.bit_length()
            return np.minimum(values >> (bits - 8), 255).astype(np.uint8)
        return np.clip(np.rint(values.astype(np.float32) * (255 / self.top)), 0, 255).astype(np.uint8)


FULL = ValueRange(0xFFFF, "values of 16 bits")  # without a source: for a single file


def range_up_to(top: int | None) -> ValueRange:
    """The range in which `top` becomes 255, as `pack.json` has it; `FULL` for None."""
    return FULL if top is None else ValueRange(top, f"values up to {top:,}")


def span_of(values: np.ndarray) -> Span | None:
    """The span of an image's values; None for uint8, whose range is known."""
    if values.dtype == np.uint8:
        return None
    highest = float(values.max(initial=0))
    return Span(highest, bool(values.dtype == np.uint16 or (values == np.rint(values)).all()), values.dtype.kind == "f")


def whole_range(spans: Sequence[Span]) -> ValueRange:
    """The range of a source's 16-bit images: the smallest number of bits that holds the largest value of all."""
    return _of_bits(max(span.highest for span in spans))


def float_range(spans: Sequence[Span]) -> ValueRange | None:
    """The range of a source's floating-point images, none of which has a value below 0; None if it is not clear.

    0 to 1 if half of the images end there; else 0 to 255, or more bits if all values are whole numbers. An image with
    larger values than the others is not in the range; see `fits`.
    """
    middle = sorted(span.highest for span in spans)[len(spans) // 2]
    if middle <= 1:
        return ValueRange(1, "values from 0 to 1")
    if all(span.whole for span in spans):
        return _of_bits(min(max(span.highest for span in spans), 0xFFFF))
    highest = max(span.highest for span in spans if span.highest <= 255) if middle <= 255 else 0.0
    return _of_bits(255.0) if highest >= _CLEAR else None


def fits(span: Span, range_: ValueRange) -> bool:
    """Whether an image's values lie in the range."""
    return span.highest <= range_.top


def exact(values: np.ndarray) -> np.ndarray:
    """Values of more than 8 bits as uint8 where that loses nothing, else unchanged.

    Multiples of 257 are 8-bit values that a program has stretched to 16, multiples of 256 ones that it has shifted.
    """
    if values.dtype == np.float32:
        if not (values == np.rint(values)).all() or values.max(initial=0) > 0xFFFF:
            return values
        values = values.astype(np.uint16)
    if values.dtype != np.uint16:
        return values
    if values.max(initial=0) <= 255:
        return values.astype(np.uint8)
    for step in (257, 256):
        if not (values % step).any():
            return (values // step).astype(np.uint8)
    return values


def _of_bits(highest: float) -> ValueRange:
    bits = next(bits for bits in _BITS if highest < 2**bits)
    text = f"values up to {highest:,.0f}, taken as {bits} bits"
    return ValueRange(2**bits - 1, text)
