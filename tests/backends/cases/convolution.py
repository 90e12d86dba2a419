"""Convolutions and dense layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from backends.cases.call import Call, Constant, given, poison
from backends.cases.elementwise import ACTIVATIONS
from cnn.backends import Activation, Epilogue, Window


@dataclass(frozen=True)
class ConvCase:
    name: str
    n: int = 3
    hw: tuple[int, int] = (9, 7)
    channels: int = 5
    filters: int = 6
    kernel: Any = 3
    stride: Any = 1
    padding: Any = "same"
    dilation: Any = 1
    groups: int = 1
    bias: bool = True

    @property
    def window(self) -> Window:
        return Window.over(self.hw, self.kernel, self.stride, self.padding, self.dilation)

    def x(self, rng):
        return rng.normal(size=(self.n, *self.hw, self.channels))

    def w(self, rng):
        return rng.normal(size=(*self.window.kernel, self.channels // self.groups, self.filters))

    def b(self, rng):
        return rng.normal(size=self.filters) if self.bias else None

    def dy(self, rng):
        return rng.normal(size=(self.n, *self.window.output_hw, self.filters))

    def forward(self, rng, **options):
        return given(self.x(rng), self.w(rng), self.b(rng), self.window, self.groups, **options)


CONVS = [
    ConvCase("same"),
    ConvCase("valid_5x5", kernel=5, padding="valid"),
    ConvCase("no_bias", bias=False),
    ConvCase("1x1", kernel=1),
    ConvCase("1x1_stride_2", kernel=1, stride=2),
    ConvCase("1x1_padded", kernel=1, padding=2),
    ConvCase("one_channel", channels=1),
    ConvCase("one_channel_one_filter", n=1, channels=1, filters=1, padding="valid"),
    ConvCase("kernel_3x5_wide_image", hw=(6, 11), kernel=(3, 5)),
    ConvCase("kernel_5x1_stride_2x3", hw=(11, 8), kernel=(5, 1), stride=(2, 3)),
    ConvCase("kernel_1x4_valid", hw=(5, 10), kernel=(1, 4), padding="valid"),
    ConvCase("stride_2", stride=2),
    ConvCase("stride_2_same_lower", hw=(8, 10), stride=2, padding="same_lower"),
    ConvCase("stride_3_even_image", hw=(8, 10), stride=3),
    ConvCase("stride_3_valid_skips_pixels", hw=(10, 9), kernel=2, stride=3, padding="valid"),
    ConvCase("stride_1x2", stride=(1, 2), padding=1),
    ConvCase("dilation_2", dilation=2),
    ConvCase("dilation_3_valid", hw=(11, 9), dilation=3, padding="valid"),
    ConvCase("dilation_2x3_stride_2", hw=(11, 13), dilation=(2, 3), stride=2),
    ConvCase("even_2x2_same", kernel=2),
    ConvCase("even_4x4_same_lower", kernel=4, padding="same_lower"),
    ConvCase("even_4x2_same_stride_2", kernel=(4, 2), stride=2),
    ConvCase("asymmetric_padding", padding=(0, 2, 1, 0)),
    ConvCase("asymmetric_padding_stride_2", padding=(1, 0, 2, 1), stride=2),
    ConvCase("padding_wider_than_reach", padding=(4, 3, 5, 3)),
    ConvCase("padding_wider_than_reach_on_one_side", padding=(0, 0, 4, 1)),
    ConvCase("padding_wider_than_reach_stride_3", padding=(5, 4), stride=3),
    ConvCase("padding_wider_than_reach_dilated", hw=(6, 5), padding=6, dilation=2),
    ConvCase("groups_2", channels=6, filters=4, groups=2),
    ConvCase("groups_3_stride_2", channels=9, filters=6, groups=3, stride=2),
    ConvCase("groups_2_padding_wider_than_reach", channels=4, filters=6, groups=2, padding=4),
    ConvCase("groups_2_1x1", channels=6, filters=10, groups=2, kernel=1),
    ConvCase("depthwise", filters=5, groups=5),
    ConvCase("depthwise_multiplier_3", filters=15, groups=5),
    ConvCase("depthwise_multiplier_2_stride_2_dilation_2", channels=3, filters=6, groups=3, stride=2, dilation=2),
    ConvCase("depthwise_padding_wider_than_reach", channels=3, filters=3, groups=3, padding=(4, 3, 3, 5)),
    ConvCase("depthwise_even_kernel", channels=3, filters=6, groups=3, kernel=2),
    ConvCase("depthwise_8_channels", channels=8, filters=8, groups=8),
    ConvCase(
        "depthwise_24_channels_nothing_square",
        n=3,
        hw=(9, 10),
        channels=24,
        filters=24,
        groups=24,
        kernel=(3, 2),
        stride=(2, 1),
        padding=(0, 2, 1, 3),
        dilation=(1, 2),
    ),
    ConvCase("depthwise_12_channels_4x4_stride_3", channels=12, filters=12, groups=12, kernel=4, stride=3),
    ConvCase("depthwise_many_chunks_stride_2", n=11, hw=(21, 22), channels=32, filters=32, groups=32, stride=2),
    ConvCase("groups_of_one_filter_each", channels=6, filters=3, groups=3),
    ConvCase("batch_1", n=1),
    ConvCase("batch_19", n=19, channels=3),
    ConvCase("batch_19_stride_2", n=19, channels=3, stride=2),
    ConvCase("batch_19_depthwise", n=19, channels=4, filters=4, groups=4),
    ConvCase("batch_17_groups_2", n=17, hw=(5, 6), channels=4, filters=6, groups=2),
    ConvCase("channels_33_to_17", n=2, hw=(5, 6), channels=33, filters=17),
    ConvCase("channels_13_to_65_valid", n=2, hw=(4, 5), channels=13, filters=65, padding="valid"),
    ConvCase("kernel_covers_image", hw=(4, 3), kernel=(4, 3), padding="valid"),
    ConvCase("image_of_one_pixel", hw=(1, 1)),
    ConvCase("image_of_one_row", hw=(1, 9), stride=2),
    ConvCase("channels_8_to_12", channels=8, filters=12),
    ConvCase("channels_12_to_68_stride_2_dilation_2", hw=(11, 13), channels=12, filters=68, stride=2, dilation=2),
    ConvCase("channels_8_to_24_groups_2", channels=8, filters=24, groups=2, padding=(0, 2, 1, 0)),
    ConvCase("one_channel_5x5", channels=1, filters=6, kernel=5),
    ConvCase("one_channel_8_filters_stride_2", channels=1, filters=8, stride=2),
    ConvCase(
        "one_channel_nothing_square",
        n=11,
        hw=(16, 18),
        channels=1,
        filters=7,
        stride=(2, 3),
        padding=(2, 1, 3, 4),
        dilation=(3, 2),
    ),
    ConvCase("one_channel_514_filters_5x5", n=1, hw=(3, 4), channels=1, filters=514, kernel=5),
    ConvCase(
        "depthwise_nothing_square",
        n=2,
        channels=3,
        filters=6,
        groups=3,
        kernel=(3, 2),
        stride=(1, 2),
        padding=(0, 2, 1, 3),
        dilation=(2, 3),
    ),
    ConvCase("many_chunks", n=11, hw=(21, 22), channels=16, filters=9),
]
# Channels and filters in eights, as tensor cores take them; some with enough of both for tiles of every width.
EIGHTS = [
    ConvCase("eights_8_to_8", n=5, hw=(6, 5), channels=8, filters=8),
    ConvCase("eights_24_to_40_stride_2x1", n=2, hw=(5, 6), channels=24, filters=40, kernel=(3, 2), stride=(2, 1)),
    ConvCase("eights_16_to_72_dilation_2x3", n=2, hw=(7, 9), channels=16, filters=72, padding=2, dilation=(2, 3)),
    ConvCase("eights_8_to_16_stride_2_dilation_2", n=2, hw=(9, 7), channels=8, filters=16, stride=2, dilation=2),
    ConvCase(
        "eights_16_to_8_stride_2x1_dilation_1x2", hw=(8, 7), channels=16, filters=8, stride=(2, 1), dilation=(1, 2)
    ),
    ConvCase("eights_1x1_stride_2", n=2, hw=(7, 5), channels=64, filters=32, kernel=1, stride=2, bias=False),
    ConvCase("eights_images_smaller_than_the_filter", n=9, hw=(2, 1), channels=16, filters=8),
    ConvCase(
        "eights_padding_wider_than_reach", n=2, hw=(3, 4), channels=24, filters=16, stride=2, padding=(3, 3, 4, 3)
    ),
    ConvCase("eights_5x5_stride_3", n=2, hw=(9, 8), channels=32, filters=64, kernel=5, stride=3, padding=2),
    ConvCase("eights_64_to_128_same", n=1, hw=(5, 7), channels=64, filters=128),
    ConvCase("eights_72_to_24_groups_3", n=1, hw=(5, 6), channels=72, filters=24, groups=3),
]
CONVS += EIGHTS

# Shapes that reach every kernel, for what all convolutions have in common.
_EPILOGUES_IN_FULL = ("same", "channels_8_to_12", "depthwise", "one_channel_8_filters_stride_2", "groups_2")
_CONSTANTS = ("same", "1x1", "depthwise", "groups_2", "many_chunks", "channels_33_to_17")


@dataclass(frozen=True)
class DenseCase:
    name: str
    n: int
    inputs: int
    units: int
    bias: bool = True

    def x(self, rng):
        return rng.normal(size=(self.n, self.inputs))

    def w(self, rng):
        return rng.normal(size=(self.inputs, self.units))

    def b(self, rng):
        return rng.normal(size=self.units) if self.bias else None

    def dy(self, rng):
        return rng.normal(size=(self.n, self.units))

    def forward(self, rng, **options):
        return given(self.x(rng), self.w(rng), self.b(rng), **options)


DENSES = [
    DenseCase("small", 3, 5, 4),
    DenseCase("no_bias", 3, 5, 4, bias=False),
    DenseCase("fours", 5, 12, 8),
    DenseCase("batch_1", 1, 7, 3),
    DenseCase("one_input_one_unit", 4, 1, 1),
    DenseCase("batch_19_33_to_17", 19, 33, 17),
    DenseCase("wide", 9, 300, 65),
    DenseCase("eights", 7, 40, 24),
    DenseCase("eights_long", 5, 1000, 16),
]

_RELU = Activation("relu")


def conv_calls(cases: Sequence[ConvCase]) -> Iterator[Call]:
    for i, c in enumerate(cases):
        g = (c.window, c.groups)
        yield Call("conv2d", c.name, c.forward)
        # A ReLU with statistics, and in turn the other two.
        activation, moments = ((_RELU, True), (_RELU, False), (None, True))[i % 3]
        yield _with_epilogue("conv2d", c, activation, moments)
        yield Call("conv2d_backward_input", c.name, lambda rng, c=c, g=g: given(c.dy(rng), c.w(rng), *g))
        out = {"out": poison(*c.window.kernel, c.channels // c.groups, c.filters)} if i % 2 else {}
        yield Call(
            "conv2d_backward_filter", c.name, lambda rng, c=c, g=g, out=out: given(c.dy(rng), c.x(rng), *g, **out)
        )


def dense_calls(cases: Sequence[DenseCase]) -> Iterator[Call]:
    for i, c in enumerate(cases):
        yield Call("dense", c.name, c.forward)
        activation, moments = ((_RELU, True), (_RELU, False), (None, True))[i % 3]
        yield _with_epilogue("dense", c, activation, moments)
        yield Call("dense_backward_input", c.name, lambda rng, c=c: given(c.dy(rng), c.w(rng)))
        out = {"out": poison(c.inputs, c.units)} if i % 2 else {}
        yield Call("dense_backward_filter", c.name, lambda rng, c=c, out=out: given(c.dy(rng), c.x(rng), **out))


def _with_epilogue(op: str, c: ConvCase | DenseCase, activation: Activation | None, moments: bool) -> Call:
    units = c.filters if isinstance(c, ConvCase) else c.units
    epilogue = Epilogue(activation, poison(2, units) if moments else None)
    words = [c.name, *([activation.name] if activation else []), *(["moments"] if moments else [])]
    if activation and activation.a:
        words.insert(2, str(activation.a))
    return Call(op, "_".join(words), lambda rng: c.forward(rng, epilogue=epilogue), "statistics" if moments else "")


def _with_constant(c: ConvCase) -> Call:
    def build(rng):
        arguments = c.forward(rng, epilogue=Epilogue(_RELU))
        x, w, *rest = arguments.args
        return given(x, Constant(w), *rest, **arguments.options)

    return Call("conv2d", f"{c.name}_constant", build)


def product_calls() -> Iterator[Call]:
    yield from conv_calls(CONVS)
    yield from dense_calls(DENSES)
    for c in CONVS:
        if c.name in _EPILOGUES_IN_FULL:
            for number, activation in enumerate(ACTIVATIONS):
                if activation != _RELU:
                    yield _with_epilogue("conv2d", c, activation, number % 2 == 0)
        if c.name in _CONSTANTS:
            yield _with_constant(c)
    for number, activation in enumerate(ACTIVATIONS):
        if activation != _RELU:
            yield _with_epilogue("dense", DENSES[number % 3], activation, number % 2 == 1)
    for number, shape in enumerate([(3, 5, 7, 4), (2, 5, 4, 33), (6, 17), (1, 1), (19, 48, 48, 5), (9, 12, 11, 132)]):
        out = {"out": poison(shape[-1])} if number % 2 else {}
        name = "_".join(map(str, shape))
        yield Call("bias_backward", name, lambda rng, s=shape, out=out: given(rng.normal(size=s), **out))
