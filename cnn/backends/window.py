"""The geometry of a sliding window: what a convolution and a pooling have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# What a config may say for padding: a rule, one number, (vertical, horizontal) or (top, bottom, left, right).
Padding = str | int | tuple[int, ...]


def pair(value: int | tuple[int, int] | list[int], name: str, least: int = 1) -> tuple[int, int]:
    """`value` as (vertical, horizontal); one number stands for both. Raises ValueError below `least`."""
    numbers = (value, value) if isinstance(value, int) else value
    if (
        not isinstance(numbers, tuple | list)
        or len(numbers) != 2
        or not all(isinstance(number, int) and number >= least for number in numbers)
    ):
        raise ValueError(f"{name} must be whole numbers of at least {least}, not {value!r}")
    return numbers[0], numbers[1]


@dataclass(frozen=True)
class Window:
    """A window of `kernel` taps that slides over an image of `input_hw` pixels.

    Output pixel (i, j) sees input pixel `(i * stride + k * dilation - top, j * stride + l * dilation - left)`
    for tap (k, l). All pairs are (vertical, horizontal).
    """

    input_hw: tuple[int, int]
    output_hw: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]  # top, bottom, left, right

    @classmethod
    def over(
        cls,
        input_hw: tuple[int, int],
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: Padding = "valid",
        dilation: int | tuple[int, int] = 1,
    ) -> Window:
        """The window over an image of `input_hw`.

        `padding` is "valid" (none), "same" (output = ceil(input / stride), an odd pixel of padding going to the
        bottom and right as in TensorFlow), or explicit numbers of pixels. Raises ValueError for a geometry that
        leaves no output pixel.
        """
        kernel, stride, dilation = pair(kernel, "kernel"), pair(stride, "stride"), pair(dilation, "dilation")
        reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
        if padding == "same":
            totals = [
                max((-(-size // s) - 1) * s + r - size, 0) for size, s, r in zip(input_hw, stride, reach, strict=True)
            ]
            pads = tuple(part for total in totals for part in (total // 2, total - total // 2))
        else:
            pads = _explicit(padding)
        padded = (input_hw[0] + pads[0] + pads[1], input_hw[1] + pads[2] + pads[3])
        output = tuple((p - r) // s + 1 for p, r, s in zip(padded, reach, stride, strict=True))
        if min(output) < 1:
            raise ValueError(
                f"a {reach[0]}x{reach[1]} window with padding {padding} does not fit into the "
                f"{input_hw[0]}x{input_hw[1]} image that reaches it"
            )
        return cls(tuple(input_hw), output, kernel, stride, dilation, pads)  # type: ignore[arg-type]

    @property
    def taps(self) -> int:
        """How many pixels the window covers."""
        return self.kernel[0] * self.kernel[1]

    @property
    def has_padding(self) -> bool:
        """Whether the window ever looks outside the image."""
        return any(self.padding)

    @property
    def side_by_side(self) -> bool:
        """Whether the windows of a pooling share no pixel, none sees padding, and a tap's number fits a byte."""
        plain = self.stride == self.kernel and self.dilation == (1, 1)
        return plain and not self.has_padding and self.taps <= 256

    @property
    def padded_hw(self) -> tuple[int, int]:
        """Size of the image with its padding."""
        top, bottom, left, right = self.padding
        return self.input_hw[0] + top + bottom, self.input_hw[1] + left + right

    @property
    def inside(self) -> tuple[slice, slice]:
        """The rows and columns of the padded image that are the image itself."""
        top, _, left, _ = self.padding
        return slice(top, top + self.input_hw[0]), slice(left, left + self.input_hw[1])

    def taps_in_order(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Every tap (k, l), row by row, with the rows and columns that it sees, as `tap` gives them."""
        for k in range(self.kernel[0]):
            for l in range(self.kernel[1]):  # noqa: E741
                yield k, l, *self.tap(k, l)

    def tap(self, k: int, l: int) -> tuple[slice, slice]:  # noqa: E741
        """The rows and columns of the *padded* image that tap (k, l) sees, one per output pixel."""
        starts = (k * self.dilation[0], l * self.dilation[1])
        rows, columns = (
            slice(start, start + (size - 1) * stride + 1, stride)
            for start, size, stride in zip(starts, self.output_hw, self.stride, strict=True)
        )
        return rows, columns

    def transposed(self) -> Window | None:
        """The window that carries gradients back: a convolution of dy with the flipped filter gives dx.

        None where that is not a plain convolution: a stride above 1, or padding wider than the window's reach.
        """
        reach = [(k - 1) * d for k, d in zip(self.kernel, self.dilation, strict=True)]
        top, bottom, left, right = self.padding
        pads = (reach[0] - top, reach[0] - bottom, reach[1] - left, reach[1] - right)
        if self.stride != (1, 1) or min(pads) < 0:
            return None
        return Window(self.output_hw, self.input_hw, self.kernel, (1, 1), self.dilation, pads)


def _explicit(padding: Padding) -> tuple[int, int, int, int]:
    if padding == "valid":
        padding = 0
    if isinstance(padding, str):
        raise ValueError(f"padding must be 'same', 'valid' or numbers of pixels, not '{padding}'")
    numbers = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(numbers) not in (1, 2, 4) or not all(isinstance(p, int) and p >= 0 for p in numbers):
        raise ValueError(f"padding takes 1, 2 or 4 numbers of pixels, none negative, not {padding}")
    if len(numbers) == 4:
        return numbers
    vertical, horizontal = numbers[0], numbers[-1]
    return vertical, vertical, horizontal, horizontal
