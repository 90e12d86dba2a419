"""Pooling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.cases.call import Call, given
from backends.seen import seen
from cnn.backends import Window


@dataclass(frozen=True)
class PoolCase:
    name: str
    n: int = 3
    hw: tuple[int, int] = (9, 7)
    channels: int = 5
    kernel: Any = 2
    stride: Any = 2
    padding: Any = "valid"
    dilation: Any = 1
    ceil: bool = False

    @property
    def window(self) -> Window:
        return Window.over(self.hw, self.kernel, self.stride, self.padding, self.dilation, self.ceil)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.n, *self.hw, self.channels)

    @property
    def output(self) -> tuple[int, ...]:
        return (self.n, *self.window.output_hw, self.channels)

    def x(self, rng):
        """Values no two of which are close, so that no step of a finite difference changes an argmax."""
        return rng.permutation(np.linspace(-2, 2, int(np.prod(self.shape)))).reshape(self.shape)

    def dy(self, rng):
        return rng.normal(size=self.output)

    def argmax(self, rng):
        """For every output pixel one of the taps that see the image, any of them."""
        window = self.window
        argmax = np.empty(self.output, np.uint8 if window.taps <= 256 else np.int32)
        for i in range(window.output_hw[0]):
            for j in range(window.output_hw[1]):
                taps = [k * window.kernel[1] + m for k, m, _, _ in seen(window, i, j)]
                argmax[:, i, j] = rng.choice(taps, size=(self.n, self.channels))
        return argmax


POOLS = [
    PoolCase("2x2"),
    PoolCase("2x2_even_image", hw=(8, 6)),
    PoolCase("1x1", kernel=1, stride=1),
    PoolCase("1x1_stride_2", kernel=1),
    PoolCase("3x3_stride_2_same", kernel=3, padding="same"),
    PoolCase("3x3_stride_1_same_overlaps", kernel=3, stride=1, padding="same"),
    PoolCase("2x2_same_odd_image", padding="same"),
    PoolCase("2x2_same_lower", padding="same_lower"),
    PoolCase("4x4_stride_3_same", kernel=4, stride=3, padding="same"),
    PoolCase("4x3_stride_3_same_lower", kernel=(4, 3), stride=3, padding="same_lower"),
    PoolCase("2x2_ceil", ceil=True),
    PoolCase("3x3_stride_2_ceil", hw=(8, 10), kernel=3, ceil=True),
    PoolCase("3x2_stride_3_padded_ceil", hw=(8, 9), kernel=(3, 2), stride=3, padding=1, ceil=True),
    PoolCase("ceil_begins_in_the_padding_behind", hw=(2, 2), kernel=3, stride=3, padding=1, ceil=True),
    PoolCase("ceil_dilated", hw=(8, 8), kernel=2, stride=3, dilation=2, ceil=True),
    PoolCase("2x3_stride_1x2", kernel=(2, 3), stride=(1, 2)),
    PoolCase("3x1_wide_image", hw=(5, 12), kernel=(3, 1), stride=(3, 1)),
    PoolCase("stride_3_skips_pixels", hw=(10, 8), stride=3),
    PoolCase("asymmetric_padding", kernel=3, padding=(1, 0, 0, 2)),
    PoolCase("asymmetric_padding_stride_1", kernel=(2, 3), stride=1, padding=(0, 1, 2, 0)),
    PoolCase("dilation_2", stride=1, dilation=2),
    PoolCase("dilation_3_padded", kernel=2, stride=2, dilation=3, padding=1),
    PoolCase("whole_image", kernel=(9, 7)),
    PoolCase("whole_large_image_of_289_taps", n=2, hw=(17, 17), channels=3, kernel=17),
    PoolCase("one_channel", channels=1),
    PoolCase("33_channels", n=2, hw=(5, 4), channels=33),
    PoolCase("4_channels", channels=4),
    PoolCase("8_channels_3x3_stride_2_same", channels=8, kernel=3, padding="same"),
    PoolCase("4_channels_ceil", hw=(7, 9), channels=4, ceil=True),
    PoolCase("4_channels_3x2_stride_1_dilation_2", channels=4, kernel=(3, 2), stride=1, dilation=2, padding=1),
    PoolCase("4_channels_289_taps", n=1, hw=(18, 17), channels=4, kernel=17, stride=1),
    PoolCase("batch_1", n=1),
    PoolCase("batch_19", n=19, channels=3),
    PoolCase("batch_19_same", n=19, channels=3, kernel=3, padding="same"),
    PoolCase("image_of_one_pixel_same", hw=(1, 1), padding="same"),
]
# For averages over whole images, where the window does not matter.
IMAGES = [(3, 9, 7, 5), (1, 8, 6, 4), (2, 1, 1, 3), (19, 5, 4, 33), (2, 40, 41, 8)]


def pool_calls() -> Iterator[Call]:
    for c in POOLS:
        w = c.window
        yield Call("max_pool2d", c.name, lambda rng, c=c, w=w: given(c.x(rng), w))
        # Of equal values the first counts, and a rim of zeros would be larger than all of them.
        yield Call("max_pool2d", f"{c.name}_ties", lambda rng, c=c, w=w: given(np.round(c.x(rng)) - 5, w))
        yield Call("max_pool2d_backward", c.name, lambda rng, c=c, w=w: given(c.dy(rng), c.argmax(rng), w))
        for counts in (False, True) if w.has_padding else (False,):
            name = c.name + ("_count_padding" if counts else "")
            yield Call("avg_pool2d", name, lambda rng, c=c, w=w, p=counts: given(c.x(rng), w, count_padding=p))
            yield Call(
                "avg_pool2d_backward", name, lambda rng, c=c, w=w, p=counts: given(c.dy(rng), w, count_padding=p)
            )
    for shape in IMAGES:
        name, n, hw, channels = "_".join(map(str, shape)), shape[0], shape[1:3], shape[3]
        yield Call("global_avg_pool2d", name, lambda rng, s=shape: given(rng.normal(1, 1, s)))
        yield Call(
            "global_avg_pool2d_backward",
            name,
            lambda rng, n=n, c=channels, hw=hw: given(rng.normal(size=(n, c)), hw),
        )
