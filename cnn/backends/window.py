"""The geometry of a sliding window, for convolution and pooling."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

# Padding in a config: a rule, one number, (vertical, horizontal) or (top, bottom, left, right).
Padding = str | int | tuple[int, ...]


def pair(value: int | tuple[int, int] | list[int], name: str, least: int = 1) -> tuple[int, int]:
    """`value` as (vertical, horizontal); one number is used for both. Raises ValueError below `least`."""
    numbers = value if isinstance(value, tuple | list) else (value, value)
    if len(numbers) != 2 or not all(_is_int(number) and number >= least for number in numbers):
        raise ValueError(f"{name} must be whole numbers of at least {least}, not {value!r}")
    return numbers[0], numbers[1]


@dataclass(frozen=True)
class Window:
    """A window of `kernel` taps that slides over an image of `input_hw` pixels.

    Output pixel (i, j) reads input pixel `(i * stride + k * dilation - top, j * stride + l * dilation - left)`
    for tap (k, l). All pairs are (vertical, horizontal).
    """

    input_hw: tuple[int, int]
    output_hw: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]  # top, bottom, left, right
    overhang: tuple[int, int] = (0, 0)  # rows and columns beyond the padding that the last windows reach (`ceil`)

    @classmethod
    def over(
        cls,
        input_hw: tuple[int, int],
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: Padding = "valid",
        dilation: int | tuple[int, int] = 1,
        ceil: bool = False,
    ) -> Window:
        """The window over an image of `input_hw`.

        `padding` is "valid" (none), "same" (output = ceil(input / stride), an odd pixel of padding going to the
        bottom and right as in TensorFlow), "same_lower" (that pixel goes to the top and left), or explicit numbers of
        pixels. `ceil` adds an output pixel where the last stride leaves pixels over, if its window begins inside the
        image or the padding before it (PyTorch's `ceil_mode`). Raises ValueError for a geometry that leaves no output
        pixel.
        """
        try:
            return _over(input_hw, kernel, stride, padding, dilation, ceil)
        except TypeError:  # lists, as a config has them, cannot be looked up
            lists = (tuple(each) if isinstance(each, list) else each for each in (kernel, stride, padding, dilation))
            return _over(tuple(input_hw), *lists, ceil)

    @property
    def taps(self) -> int:
        """The number of pixels of the window."""
        return self.kernel[0] * self.kernel[1]

    @property
    def has_padding(self) -> bool:
        """Whether any window extends beyond the image."""
        return any(self.padding) or any(self.overhang)

    @property
    def sees_padding_alone(self) -> bool:
        """Whether some window has no row, or no column, of the image."""
        for axis, before in enumerate((self.padding[0], self.padding[2])):
            reach = range(0, self.kernel[axis] * self.dilation[axis], self.dilation[axis])
            for i in range(self.output_hw[axis]):
                start = i * self.stride[axis] - before
                if not any(0 <= start + tap < self.input_hw[axis] for tap in reach):
                    return True
        return False

    @property
    def side_by_side(self) -> bool:
        """Whether the windows of a pooling do not overlap, see no padding, and a tap's number fits a byte."""
        plain = self.stride == self.kernel and self.dilation == (1, 1)
        return plain and not self.has_padding and self.taps <= 256

    @property
    def padded_hw(self) -> tuple[int, int]:
        """Size of the image with its padding and overhang."""
        (top, bottom, left, right), (below, beside) = self.padding, self.overhang
        return self.input_hw[0] + top + bottom + below, self.input_hw[1] + left + right + beside

    @property
    def inside(self) -> tuple[slice, slice]:
        """The rows and columns of the padded image that are the image itself."""
        top, _, left, _ = self.padding
        return slice(top, top + self.input_hw[0]), slice(left, left + self.input_hw[1])

    def taps_in_order(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Every tap (k, l), row by row, with the rows and columns that it reads, as in `tap`."""
        for k in range(self.kernel[0]):
            for l in range(self.kernel[1]):  # noqa: E741
                yield k, l, *self.tap(k, l)

    def tap(self, k: int, l: int) -> tuple[slice, slice]:  # noqa: E741
        """The rows and columns of the *padded* image that tap (k, l) reads, one per output pixel."""
        starts = (k * self.dilation[0], l * self.dilation[1])
        rows, columns = (
            slice(start, start + (size - 1) * stride + 1, stride)
            for start, size, stride in zip(starts, self.output_hw, self.stride, strict=True)
        )
        return rows, columns

    def transposed(self) -> Window | None:
        """The window of the data gradient: the convolution of dy with the flipped filter gives dx.

        None if that has a stride above 1 or padding larger than (kernel - 1) * dilation.
        """
        reach = [(k - 1) * d for k, d in zip(self.kernel, self.dilation, strict=True)]
        top, bottom, left, right = self.padding
        pads = (reach[0] - top, reach[0] - bottom, reach[1] - left, reach[1] - right)
        if self.stride != (1, 1) or min(pads) < 0:
            return None
        return Window(self.output_hw, self.input_hw, self.kernel, (1, 1), self.dilation, pads)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _explicit(padding: Padding) -> tuple[int, int, int, int]:
    if padding == "valid":
        padding = 0
    if isinstance(padding, str):
        raise ValueError(f"padding must be 'same', 'same_lower', 'valid' or numbers of pixels, not '{padding}'")
    numbers = tuple(padding) if isinstance(padding, tuple) else (padding,)
    if len(numbers) not in (1, 2, 4) or not all(_is_int(p) and p >= 0 for p in numbers):
        raise ValueError(f"padding takes 1, 2 or 4 numbers of pixels, none negative, not {padding}")
    if len(numbers) == 4:
        return numbers
    vertical, horizontal = numbers[0], numbers[-1]
    return vertical, vertical, horizontal, horizontal


@functools.lru_cache(maxsize=4096, typed=True)
def _over(
    input_hw: tuple[int, int],
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int],
    padding: Padding,
    dilation: int | tuple[int, int],
    ceil: bool,
) -> Window:
    kernel, stride, dilation = pair(kernel, "kernel"), pair(stride, "stride"), pair(dilation, "dilation")
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    if padding in ("same", "same_lower"):
        totals = [
            max((-(-size // s) - 1) * s + r - size, 0) for size, s, r in zip(input_hw, stride, reach, strict=True)
        ]
        halves = [(total // 2, total - total // 2) for total in totals]
        pads = tuple(part for half in halves for part in (half if padding == "same" else half[::-1]))
    else:
        pads = _explicit(padding)
    padded = (input_hw[0] + pads[0] + pads[1], input_hw[1] + pads[2] + pads[3])
    steps = [(p - r) / s for p, r, s in zip(padded, reach, stride, strict=True)]
    output = tuple((math.ceil if ceil else math.floor)(step) + 1 for step in steps)
    if ceil:
        ends = (input_hw[0] + pads[0], input_hw[1] + pads[2])
        output = tuple(o - ((o - 1) * s >= end) for o, s, end in zip(output, stride, ends, strict=True))
    if min(output) < 1:
        raise ValueError(
            f"a {reach[0]}x{reach[1]} window with padding {padding} does not fit into the "
            f"{input_hw[0]}x{input_hw[1]} image that reaches it"
        )
    reached = [(o - 1) * s + r for o, s, r in zip(output, stride, reach, strict=True)]
    overhang = tuple(max(0, end - p) for end, p in zip(reached, padded, strict=True))
    return Window(tuple(input_hw), output, kernel, stride, dilation, pads, overhang)  # type: ignore[arg-type]
