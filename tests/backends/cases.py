"""What the conformance suite runs over every backend: one list of cases, one tolerance table.

A case is a named geometry; `CALLS` turns the cases into calls of operations. An operation that is missing from
`CALLS` fails the suite, and so does a backward operation that is missing from `GRADIENTS`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cnn.backends import RandomKey, Window

# --- tolerances ---------------------------------------------------------------------------------------------------

# The largest error allowed, as a share of the largest expected value of the same array.
TOLERANCES: Mapping[str, Mapping[str, float]] = {
    #             copied  a few roundings   sums of products   through statistics    float32 positions
    "float64": {"exact": 0.0, "element": 1e-14, "sum": 1e-13, "statistics": 1e-11, "position": 1e-4},
    "float32": {"exact": 0.0, "element": 1e-6, "sum": 5e-6, "statistics": 2e-5, "position": 1e-4},
}

# Which of them an operation is held to; "element" where none is named.
TOLERANCE_OF = {
    **dict.fromkeys(
        ("array", "constant", "to_numpy", "zeros_like", "relu", "relu_backward", "max_pool2d", "count_correct"), "exact"
    ),
    **dict.fromkeys(
        (
            "conv2d",
            "conv2d_backward_input",
            "conv2d_backward_filter",
            "bias_backward",
            "dense",
            "dense_backward_input",
            "dense_backward_filter",
            "max_pool2d_backward",
            "avg_pool2d",
            "avg_pool2d_backward",
            "global_avg_pool2d",
            "l2_penalty",
            "softmax",
            "softmax_cross_entropy",
            "adam_update",
        ),
        "sum",
    ),
    **dict.fromkeys(
        ("batch_norm", "batch_norm_backward", "batch_norm_max_pool2d", "batch_norm_max_pool2d_backward"), "statistics"
    ),
}

# Gradient of float64 against central differences: norm of the difference over the norms' sum.
GRADIENT_TOLERANCE = 1e-6

# --- cases --------------------------------------------------------------------------------------------------------


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

    def lattice(self, rng):
        return _lattice(self.x(rng), self.w(rng), self.b(rng))


def _lattice(x, w, b):
    """x, w and b rounded so that no sum of products is near zero, where a ReLU has its kink; b None stays None.

    x and w are multiples of 1/8, so their products are of 1/64, and b adds 1/128. Without b, sums may be zero.
    """
    return np.round(8 * x) / 8, np.round(8 * w) / 8, None if b is None else (np.round(64 * b) + 0.5) / 64


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
    ConvCase("stride_3_even_image", hw=(8, 10), stride=3),
    ConvCase("stride_3_valid_skips_pixels", hw=(10, 9), kernel=2, stride=3, padding="valid"),
    ConvCase("stride_1x2", stride=(1, 2), padding=1),
    ConvCase("dilation_2", dilation=2),
    ConvCase("dilation_3_valid", hw=(11, 9), dilation=3, padding="valid"),
    ConvCase("dilation_2x3_stride_2", hw=(11, 13), dilation=(2, 3), stride=2),
    ConvCase("even_2x2_same", kernel=2),
    ConvCase("even_4x4_same", kernel=4),
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
    ConvCase("many_pieces", n=11, hw=(21, 22), channels=16, filters=9),
]


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

    @property
    def window(self) -> Window:
        return Window.over(self.hw, self.kernel, self.stride, self.padding, self.dilation)

    @property
    def output(self) -> tuple[int, ...]:
        return (self.n, *self.window.output_hw, self.channels)

    def x(self, rng):
        """Values no two of which are close, so that no step of a finite difference changes a winner."""
        shape = (self.n, *self.hw, self.channels)
        return rng.permutation(np.linspace(-2, 2, int(np.prod(shape)))).reshape(shape)

    def dy(self, rng):
        return rng.normal(size=self.output)


POOLS = [
    PoolCase("2x2"),
    PoolCase("2x2_even_image", hw=(8, 6)),
    PoolCase("1x1", kernel=1, stride=1),
    PoolCase("1x1_stride_2", kernel=1),
    PoolCase("3x3_stride_2_same", kernel=3, padding="same"),
    PoolCase("3x3_stride_1_same_overlaps", kernel=3, stride=1, padding="same"),
    PoolCase("2x2_same_odd_image", padding="same"),
    PoolCase("4x4_stride_3_same", kernel=4, stride=3, padding="same"),
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
    PoolCase("4_channels_3x2_stride_1_dilation_2", channels=4, kernel=(3, 2), stride=1, dilation=2, padding=1),
    PoolCase("4_channels_289_taps", n=1, hw=(18, 17), channels=4, kernel=17, stride=1),
    PoolCase("batch_1", n=1),
    PoolCase("batch_19", n=19, channels=3),
    PoolCase("batch_19_same", n=19, channels=3, kernel=3, padding="same"),
    PoolCase("image_of_one_pixel_same", hw=(1, 1), padding="same"),
]


@dataclass(frozen=True)
class NormCase:
    name: str
    shape: tuple[int, ...]
    eps: float = 1e-5
    mean: float = 0.5
    deviation: float = 2.0

    def x(self, rng):
        return rng.normal(self.mean, self.deviation, self.shape)

    def per_channel(self, rng):
        return rng.normal(size=self.shape[-1])

    def affine(self, rng):
        return self.per_channel(rng), self.per_channel(rng)

    def variance(self, rng):
        return rng.uniform(0.2, 3, self.shape[-1])

    def off_the_kink(self, rng):
        """Arguments with no output near zero, where a ReLU has its kink; any at all for a large case."""
        while True:
            x, (gamma, beta) = self.x(rng), self.affine(rng)
            axes = tuple(range(x.ndim - 1))
            y = gamma * (x - x.mean(axis=axes)) / np.sqrt(x.var(axis=axes) + self.eps) + beta
            if self.large or np.abs(y).min() > 2e-3:
                return x, gamma, beta, self.eps

    @property
    def large(self) -> bool:
        return int(np.prod(self.shape)) > 2000


NORMS = [
    NormCase("image", (3, 5, 7, 4)),
    NormCase("one_channel", (2, 5, 3, 1)),
    NormCase("batch_1", (1, 4, 3, 5)),
    NormCase("33_channels", (2, 5, 4, 33)),
    NormCase("vector", (6, 17)),
    NormCase("vector_of_300", (4, 300)),
    NormCase("large_eps", (3, 4, 5, 3), eps=1e-1),
    NormCase("small_deviation", (3, 4, 5, 3), eps=1e-3, deviation=0.05),
    NormCase("many_pieces", (19, 48, 48, 5), eps=1e-3),
    NormCase("many_pieces_of_132_channels", (9, 12, 11, 132)),
]


@dataclass(frozen=True)
class ElementCase:
    name: str
    shape: tuple[int, ...]

    def x(self, rng):
        """Numbers of both signs, none so near zero that a step of a finite difference changes the sign."""
        return rng.uniform(0.05, 4, self.shape) * rng.choice([-1.0, 1.0], self.shape)

    def dy(self, rng):
        return rng.normal(size=self.shape)


ELEMENTS = [
    ElementCase("image", (3, 5, 7, 4)),
    ElementCase("one_number", (1, 1)),
    ElementCase("vector", (6, 33)),
    ElementCase("many_pieces", (19, 33, 31, 8)),
]


_KEY = RandomKey(7, 3, 12)


@dataclass(frozen=True)
class DropoutCase:
    name: str
    shape: tuple[int, ...]
    rate: float
    key: RandomKey = _KEY


DROPOUTS = [
    DropoutCase("image", (3, 5, 7, 4), 0.3),
    DropoutCase("eights", (4, 16), 0.4),
    DropoutCase("one_number", (1, 1), 0.5),
    DropoutCase("nothing_dropped", (2, 9), 0.0),
    DropoutCase("nearly_all_dropped", (5, 41), 0.97),
    DropoutCase("large_key", (3, 17), 0.5, RandomKey(2**64 - 5, 2**32 - 1, 2**40 + 9)),
    DropoutCase("many_pieces", (19, 33, 31, 5), 0.2),
]


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

    def lattice(self, rng):
        return _lattice(self.x(rng), self.w(rng), self.b(rng))


DENSES = [
    DenseCase("small", 3, 5, 4),
    DenseCase("no_bias", 3, 5, 4, bias=False),
    DenseCase("fours", 5, 12, 8),
    DenseCase("batch_1", 1, 7, 3),
    DenseCase("one_input_one_unit", 4, 1, 1),
    DenseCase("batch_19_33_to_17", 19, 33, 17),
    DenseCase("wide", 9, 300, 65),
]


@dataclass(frozen=True)
class LossCase:
    name: str
    n: int
    classes: int
    smoothing: float = 0.0
    largest_logit: float = 3.0

    def logits(self, rng):
        return rng.uniform(-self.largest_logit, self.largest_logit, (self.n, self.classes))

    def labels(self, rng):
        return rng.integers(self.classes, size=self.n)

    def targets(self, rng):
        """Any non-negative numbers: soft targets, of which not every row need sum to one."""
        return rng.uniform(0, 1, (self.n, self.classes))

    def weights(self, rng):
        return rng.uniform(0.2, 3, self.n)


LOSSES = [
    LossCase("small", 5, 7),
    LossCase("smoothed", 5, 7, smoothing=0.1),
    LossCase("two_classes_batch_1", 1, 2, smoothing=0.3),
    LossCase("batch_19_33_classes", 19, 33),
    LossCase("large_logits", 6, 4, largest_logit=60),
]


@dataclass(frozen=True)
class UpdateCase:
    name: str
    op: str
    shapes: tuple[tuple[int, ...], ...]
    options: dict[str, Any] = field(default_factory=dict)

    def arguments(self, rng):
        slots = 1 if self.op == "sgd_update" else 2
        params, grads, first = ([rng.normal(size=shape) for shape in self.shapes] for _ in range(3))
        second = [rng.uniform(0.1, 2, size=shape) for shape in self.shapes]
        return (params, grads, first, second)[: 2 + slots]


_SHAPES = ((3, 3, 2, 5), (5,), (1,))
_DECAYS = [0.1, 0.0, 0.02]
_SGD = {"learning_rate": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": [0.0] * 3, "decoupled": False}
_ADAM = {
    "learning_rate": 0.01,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "step": 5,
    "weight_decay": [0.0] * 3,
    "decoupled": False,
}
UPDATES = [
    UpdateCase("plain", "sgd_update", _SHAPES, _SGD | {"momentum": 0.0}),
    UpdateCase("momentum", "sgd_update", _SHAPES, _SGD),
    UpdateCase("nesterov", "sgd_update", _SHAPES, _SGD | {"nesterov": True}),
    UpdateCase("l2_decay", "sgd_update", _SHAPES, _SGD | {"weight_decay": _DECAYS}),
    UpdateCase("nesterov_l2_decay", "sgd_update", _SHAPES, _SGD | {"nesterov": True, "weight_decay": _DECAYS}),
    UpdateCase("decoupled_decay", "sgd_update", _SHAPES, _SGD | {"weight_decay": _DECAYS, "decoupled": True}),
    UpdateCase(
        "seventy_tensors",
        "sgd_update",
        tuple((1 + i % 5, 3) for i in range(70)),
        _SGD | {"weight_decay": [i / 100 for i in range(70)]},
    ),
    UpdateCase("many_pieces", "sgd_update", ((70_001,),), _SGD | {"nesterov": True, "weight_decay": [0.1]}),
    UpdateCase("whole_pieces", "sgd_update", ((64, 64), (5,), (32, 256)), _SGD | {"weight_decay": _DECAYS}),
    UpdateCase("fours", "sgd_update", ((6, 4), (8,), (1, 4)), _SGD | {"weight_decay": _DECAYS}),
    UpdateCase("adam", "adam_update", _SHAPES, _ADAM),
    UpdateCase("adam_first_step", "adam_update", _SHAPES, _ADAM | {"step": 1}),
    UpdateCase("adam_late_step", "adam_update", _SHAPES, _ADAM | {"step": 100_000}),
    UpdateCase("adam_fours", "adam_update", ((6, 4), (8,), (1, 4)), _ADAM | {"weight_decay": _DECAYS}),
    UpdateCase("adam_large_eps", "adam_update", _SHAPES, _ADAM | {"eps": 0.1}),
    UpdateCase("adam_l2_decay", "adam_update", _SHAPES, _ADAM | {"weight_decay": _DECAYS}),
    UpdateCase("adamw", "adam_update", _SHAPES, _ADAM | {"weight_decay": _DECAYS, "decoupled": True}),
    UpdateCase("adam_many_pieces", "adam_update", ((70_001,),), _ADAM | {"weight_decay": [0.1], "decoupled": True}),
]


@dataclass(frozen=True)
class GatherCase:
    name: str
    n: int
    hw: tuple[int, int]
    channels: int
    reach: int = 0  # largest shift
    flips: bool = False
    turns: bool = False  # by quarters, which are whole numbers too
    warps: float = 0.0  # how far half of the matrices are from moving whole pixels
    grain: int | None = None  # matrices are multiples of 1 / grain, so that float32 positions are exact
    erases: bool = False

    def arguments(self, rng):
        images = rng.integers(0, 256, (6, *self.hw, self.channels), dtype=np.uint8)
        affine, erase = self.affine(rng).astype(np.float32), self.rectangles(rng).astype(np.int32)
        scale, offset = rng.uniform(0.001, 0.1, self.channels), rng.normal(size=self.channels)
        return images, rng.integers(6, size=self.n), affine, erase, scale, offset

    def affine(self, rng):
        """Matrices that mirror, turn and shift about the middle, and what `warps` adds to them."""
        linear = np.tile(np.eye(2), (self.n, 1, 1))
        linear[:, 1, 1] -= 2 * rng.integers(0, 2, self.n) * self.flips
        if self.turns:
            quarter = np.array([[0, 1], [-1, 0]])
            linear = np.stack([a @ np.linalg.matrix_power(quarter, rng.integers(4)) for a in linear])
        linear += self.warps * rng.normal(size=linear.shape) * (rng.random((self.n, 1, 1)) < 0.5)
        if self.grain:
            linear = np.round(self.grain * linear) / self.grain
        middle = (np.array(self.hw) - 1) / 2
        start = middle - linear @ middle + rng.integers(-self.reach, self.reach + 1, (self.n, 2))
        if self.warps:
            start += rng.normal(size=start.shape) * (rng.random((self.n, 1)) < 0.5)
        if self.grain:
            start = np.round(self.grain * start) / self.grain
        return np.concatenate([linear, start[:, :, None]], axis=2)

    def rectangles(self, rng):
        """Any rectangles inside the picture, a third of them of height 0; or none."""
        first, second = np.sort(rng.integers(0, np.array(self.hw) + 1, (2, self.n, 2)), axis=0)
        sides = (second - first) * self.erases
        sides[rng.random(self.n) < 1 / 3, 0] = 0
        return np.concatenate([first, sides], axis=1)

    @property
    def tolerance(self) -> str:
        return "position" if self.warps and not self.grain else "element"


GATHERS = [
    GatherCase("plain", 4, (5, 7), 1),
    GatherCase("flipped", 9, (5, 7), 1, flips=True),
    GatherCase("shifted", 9, (7, 4), 3, reach=2),
    GatherCase("flipped_and_shifted", 70, (6, 5), 3, reach=3, flips=True),
    GatherCase("shifted_past_the_rim", 9, (3, 4), 2, reach=6, flips=True),
    GatherCase("batch_1", 1, (8, 8), 1, reach=1, flips=True),
    GatherCase("quarter_turns", 12, (7, 7), 2, turns=True, flips=True),
    GatherCase("quarter_turns_of_wide_pictures", 12, (5, 8), 1, turns=True, reach=1),
    GatherCase("erased", 20, (6, 9), 3, erases=True),
    GatherCase("erased_and_moved", 20, (9, 6), 1, reach=2, flips=True, erases=True),
    GatherCase("erased_pictures_of_one_pixel", 9, (1, 1), 2, erases=True),
    GatherCase("half_pixels", 12, (5, 8), 3, reach=1, flips=True, warps=0.4, grain=2),
    GatherCase("sixteenths", 20, (9, 7), 3, reach=2, flips=True, warps=0.3, grain=16, erases=True),
    GatherCase("sixteenths_far_outside", 20, (6, 5), 1, reach=1000, warps=0.5, grain=16),
    GatherCase("sixteenths_of_one_row", 9, (1, 11), 3, reach=1, warps=0.3, grain=16),
    GatherCase("sixteenths_of_one_pixel", 9, (1, 1), 1, reach=1, warps=0.3, grain=16),
    GatherCase("sixteenths_of_large_steps", 9, (13, 11), 2, warps=3, grain=16),
    GatherCase("warped", 20, (9, 7), 3, reach=1, flips=True, warps=0.2, erases=True),
    GatherCase("warped_batch_1", 1, (8, 11), 1, warps=0.2),
    GatherCase("warped_many_pieces", 70, (48, 48), 1, reach=4, flips=True, warps=0.2, erases=True),
]

# --- calls --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class OpCall:
    """One call of one operation."""

    op: str
    case: str
    build: Callable[[np.random.Generator], tuple]  # the arguments, floats as float64
    options: dict[str, Any] = field(default_factory=dict)  # keyword arguments
    changes: tuple[int, ...] = ()  # the arguments that the contract changes in place
    smooth: bool = True  # whether finite differences mean anything
    on_host: bool = False  # whether its arguments stay NumPy arrays on every backend
    held_to: str = ""  # a tolerance other than the operation's

    @property
    def id(self) -> str:
        return f"{self.op}-{self.case}"

    @property
    def tolerance(self) -> str:
        return self.held_to or TOLERANCE_OF.get(self.op, "element")

    def arguments(self, dtype: str) -> tuple:
        """Fresh host arguments, the same in every process; floats rounded to `dtype`."""
        return rounded(self.build(np.random.default_rng(zlib.crc32(self.id.encode()))), dtype)


def rounded(value: Any, dtype: str) -> Any:
    """`value` with its floating arrays in `dtype`; lists and tuples of arrays are walked through."""
    if isinstance(value, np.ndarray):
        return value.astype(dtype) if value.dtype.kind == "f" else value.copy()
    if type(value) in (list, tuple):
        return type(value)(rounded(item, dtype) for item in value)
    return value


# Forward calls that apply a ReLU to what they return.
RELU = {"relu": True}


def _element_calls() -> Iterator[OpCall]:
    yield OpCall("array", "integers", lambda rng: (rng.integers(0, 256, (5, 3), dtype=np.uint8),), on_host=True)
    for c in ELEMENTS:
        yield OpCall("array", c.name, lambda rng, c=c: (c.x(rng),), on_host=True)
        yield OpCall("constant", c.name, lambda rng, c=c: (c.x(rng),), on_host=True)
        yield OpCall("to_numpy", c.name, lambda rng, c=c: (c.x(rng),))
        yield OpCall("zeros_like", c.name, lambda rng, c=c: (c.x(rng),))
        yield OpCall("add", c.name, lambda rng, c=c: (c.x(rng), c.dy(rng)))
        for op, *options in (
            ("relu",),
            ("gelu",),
            ("silu",),
            ("leaky_relu", 0.01),
            ("leaky_relu", 0.3),
            ("elu", 1.0),
            ("elu", 0.7),
        ):
            case = "_".join(map(str, (c.name, *options)))
            yield OpCall(op, case, lambda rng, c=c, o=options: (c.x(rng), *o))
            yield OpCall(f"{op}_backward", case, lambda rng, c=c, o=options: (c.dy(rng), c.x(rng), *o))
        yield OpCall("l2_penalty", c.name, lambda rng, c=c: (c.x(rng), 0.013))
        yield OpCall("l2_penalty_backward", c.name, lambda rng, c=c: (c.x(rng), 0.013, c.dy(rng)), changes=(2,))


def conv_calls(cases: list[ConvCase]) -> Iterator[OpCall]:
    for c in cases:
        g = (c.window, c.groups)
        yield OpCall("conv2d", c.name, lambda rng, c=c, g=g: (c.x(rng), c.w(rng), c.b(rng), *g))
        yield OpCall("conv2d", f"{c.name}_relu", lambda rng, c=c, g=g: (*c.lattice(rng), *g), RELU, smooth=c.bias)
        yield OpCall("conv2d_backward_input", c.name, lambda rng, c=c, g=g: (c.dy(rng), c.w(rng), *g))
        yield OpCall("conv2d_backward_filter", c.name, lambda rng, c=c, g=g: (c.dy(rng), c.x(rng), *g))


def dense_calls(cases: list[DenseCase]) -> Iterator[OpCall]:
    for c in cases:
        yield OpCall("dense", c.name, lambda rng, c=c: (c.x(rng), c.w(rng), c.b(rng)))
        yield OpCall("dense", f"{c.name}_relu", lambda rng, c=c: c.lattice(rng), RELU, smooth=c.bias)
        yield OpCall("dense_backward_input", c.name, lambda rng, c=c: (c.dy(rng), c.w(rng)))
        yield OpCall("dense_backward_filter", c.name, lambda rng, c=c: (c.dy(rng), c.x(rng)))


def _pool_calls() -> Iterator[OpCall]:
    for c in POOLS:
        yield OpCall("max_pool2d", c.name, lambda rng, c=c: (c.x(rng), c.window))
        yield OpCall("max_pool2d", f"{c.name}_ties", lambda rng, c=c: (np.round(c.x(rng)), c.window), smooth=False)
        yield OpCall("max_pool2d", f"{c.name}_negative", lambda rng, c=c: (c.x(rng) - 5, c.window), smooth=False)
        yield OpCall("max_pool2d_backward", c.name, lambda rng, c=c: (c.dy(rng), _winners(c, rng), c.window))
        yield OpCall("avg_pool2d", c.name, lambda rng, c=c: (c.x(rng), c.window))
        yield OpCall("avg_pool2d_backward", c.name, lambda rng, c=c: (c.dy(rng), c.window))
        yield OpCall("global_avg_pool2d", c.name, lambda rng, c=c: (c.x(rng),))
        yield OpCall("global_avg_pool2d_backward", c.name, lambda rng, c=c: (rng.normal(size=(c.n, c.channels)), c.hw))


def _norm_calls() -> Iterator[OpCall]:
    for c in NORMS:
        yield OpCall("bias_backward", c.name, lambda rng, c=c: (c.x(rng),))
        yield OpCall("batch_norm", c.name, lambda rng, c=c: (c.x(rng), *c.affine(rng), c.eps))
        yield OpCall("batch_norm", f"{c.name}_relu", c.off_the_kink, RELU, smooth=not c.large)
        yield OpCall("batch_norm_backward", c.name, _norm_backward(c))
        yield OpCall("batch_norm_backward", f"{c.name}_relu", _norm_backward(c, relu=True))
        yield OpCall("batch_norm_backward", f"{c.name}_relu_before", _norm_backward(c), {"relu_before": True})
        for name, options in ((c.name, {}), (f"{c.name}_relu", RELU)):
            yield OpCall(
                "batch_norm_inference",
                name,
                lambda rng, c=c: (c.x(rng), *c.affine(rng), c.per_channel(rng), c.variance(rng), c.eps),
                options,
            )
        yield OpCall("running_average", c.name, lambda rng, c=c: (*c.affine(rng), 0.99), changes=(0,))


def _norm_backward(c: NormCase, relu: bool = False) -> Callable[[np.random.Generator], tuple]:
    def build(rng):
        x, dy = c.x(rng), rng.normal(size=c.shape)
        axes = tuple(range(x.ndim - 1))
        y = (np.maximum(rng.normal(size=c.shape), 0),) if relu else ()
        return dy, x, c.per_channel(rng), x.mean(axis=axes), x.var(axis=axes), c.eps, *y

    return build


@dataclass(frozen=True)
class NormPoolCase:
    """A batch norm of an image and the pooling of `pool` behind it."""

    pool: PoolCase
    eps: float = 1e-3

    @property
    def name(self) -> str:
        return self.pool.name

    def x(self, rng):
        return self.pool.x(rng) * 2 + 0.5

    def affine(self, rng):
        """gamma of both signs, and beta."""
        return rng.normal(size=self.pool.channels), rng.normal(size=self.pool.channels)

    def inference(self, rng):
        c = self.pool.channels
        return self.x(rng), *self.affine(rng), rng.normal(size=c), rng.uniform(0.5, 2, c), self.eps, self.pool.window

    def backward(self, rng, relu, relu_before):
        x, (gamma, _) = self.x(rng), self.affine(rng)
        x = np.maximum(x, 0) if relu_before else x
        y = np.maximum(rng.normal(size=self.pool.output), 0) if relu else rng.normal(size=self.pool.output)
        statistics = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
        dy, winner = self.pool.dy(rng), _winners(self.pool, rng)
        return dy, winner, y, x, gamma, *statistics, self.eps, self.pool.window, relu, relu_before


def _norm_pool_calls() -> Iterator[OpCall]:
    for c in [NormPoolCase(pool) for pool in POOLS]:
        build = lambda rng, c=c: (c.x(rng), *c.affine(rng), c.eps, c.pool.window)  # noqa: E731
        yield OpCall("batch_norm_max_pool2d", c.name, build)
        yield OpCall("batch_norm_max_pool2d", f"{c.name}_relu", build, RELU, smooth=False)
        for name, options in ((c.name, {}), (f"{c.name}_relu", RELU)):
            yield OpCall("batch_norm_max_pool2d_inference", name, c.inference, options)
        for relu, before in ((False, False), (True, False), (False, True), (True, True)):
            name = "_".join([c.name, *["relu"] * relu, *["relu_before"] * before])
            yield OpCall(
                "batch_norm_max_pool2d_backward",
                name,
                lambda rng, c=c, relu=relu, before=before: c.backward(rng, relu, before),
            )


def _dropout_calls() -> Iterator[OpCall]:
    for c in DROPOUTS:
        yield OpCall("dropout", c.name, lambda rng, c=c: (rng.normal(size=c.shape), c.rate, c.key))
        yield OpCall(
            "dropout_backward",
            c.name,
            lambda rng, c=c: (rng.normal(size=c.shape), rng.integers(0, 2, c.shape, dtype=np.uint8), c.rate),
        )


def _loss_calls() -> Iterator[OpCall]:
    for c in LOSSES:
        yield OpCall("softmax", c.name, lambda rng, c=c: (c.logits(rng),))
        yield OpCall("soft_targets", c.name, lambda rng, c=c: (c.labels(rng), c.classes, c.smoothing, c.logits(rng)))
        yield OpCall("softmax_cross_entropy", c.name, lambda rng, c=c: (c.logits(rng), c.targets(rng), c.weights(rng)))
        yield OpCall("count_correct", c.name, lambda rng, c=c: (c.logits(rng), c.labels(rng)))
        yield OpCall("count_correct", f"{c.name}_ties", lambda rng, c=c: (np.sign(c.logits(rng)), c.labels(rng)))


def _update_and_batch_calls() -> Iterator[OpCall]:
    for c in UPDATES:
        changes = (0, 2) if c.op == "sgd_update" else (0, 2, 3)
        yield OpCall(c.op, c.name, c.arguments, options=c.options, changes=changes)
    for c in GATHERS:
        yield OpCall("gather_batch", c.name, c.arguments, held_to=c.tolerance)


def _winners(c: PoolCase, rng: np.random.Generator):
    """For every output pixel one of the taps that fall into the image, any of them."""
    window = c.window
    winner = np.empty(c.output, np.uint8 if window.taps <= 256 else np.int32)
    top, _, left, _ = window.padding
    for i in range(window.output_hw[0]):
        for j in range(window.output_hw[1]):
            rows = [i * window.stride[0] + k * window.dilation[0] - top for k in range(window.kernel[0])]
            columns = [j * window.stride[1] + m * window.dilation[1] - left for m in range(window.kernel[1])]
            inside = [
                k * window.kernel[1] + m
                for k, row in enumerate(rows)
                for m, column in enumerate(columns)
                if 0 <= row < c.hw[0] and 0 <= column < c.hw[1]
            ]
            winner[:, i, j] = rng.choice(inside, size=(c.n, c.channels))
    return winner


CALLS: list[OpCall] = [
    *_element_calls(),
    *conv_calls(CONVS),
    *dense_calls(DENSES),
    *_pool_calls(),
    *_norm_calls(),
    *_norm_pool_calls(),
    *_dropout_calls(),
    *_loss_calls(),
    *_update_and_batch_calls(),
]

# --- gradients ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gradient:
    """The gradient of the first output with respect to one argument, and the operation that computes it."""

    op: str
    argument: int
    compute: Callable[..., Any]  # (ops, dy, arguments, outputs, **the call's options) -> gradient


def _activation(op: str) -> list[Gradient]:
    return [Gradient(f"{op}_backward", 0, lambda ops, dy, a, y: getattr(ops, f"{op}_backward")(dy, *a))]


def _behind_relu(op: str, argument: int, compute: Callable[..., Any]) -> Gradient:
    """`compute(ops, dy, a)` of an operation whose output may have gone through a ReLU."""

    def behind_relu(ops, dy, a, y, relu=False):
        return compute(ops, ops.relu_backward(dy, y) if relu else dy, a)

    return Gradient(op, argument, behind_relu)


def _batch_norm(argument: int) -> Gradient:
    def compute(ops, dy, a, y, relu=False):
        return ops.batch_norm_backward(dy, a[0], a[1], y[1], y[2], a[3], y[0] if relu else None)[argument]

    return Gradient("batch_norm_backward", argument, compute)


def _batch_norm_max_pool2d(argument: int) -> Gradient:
    def compute(ops, dy, a, y):
        gradients = ops.batch_norm_max_pool2d_backward(dy, y[1], y[0], a[0], a[1], y[2], y[3], a[3], a[4])
        return gradients[argument]

    return Gradient("batch_norm_max_pool2d_backward", argument, compute)


def _l2_penalty(ops, dy, a, y):
    dw = ops.zeros_like(a[0])
    ops.l2_penalty_backward(*a, dw)
    return dw * dy


GRADIENTS: Mapping[str, list[Gradient]] = {
    "conv2d": [
        _behind_relu("conv2d_backward_input", 0, lambda ops, dy, a: ops.conv2d_backward_input(dy, a[1], a[3], a[4])),
        _behind_relu("conv2d_backward_filter", 1, lambda ops, dy, a: ops.conv2d_backward_filter(dy, a[0], a[3], a[4])),
        _behind_relu("bias_backward", 2, lambda ops, dy, a: ops.bias_backward(dy)),
    ],
    "dense": [
        _behind_relu("dense_backward_input", 0, lambda ops, dy, a: ops.dense_backward_input(dy, a[1])),
        _behind_relu("dense_backward_filter", 1, lambda ops, dy, a: ops.dense_backward_filter(dy, a[0])),
        _behind_relu("bias_backward", 2, lambda ops, dy, a: ops.bias_backward(dy)),
    ],
    "max_pool2d": [Gradient("max_pool2d_backward", 0, lambda ops, dy, a, y: ops.max_pool2d_backward(dy, y[1], a[1]))],
    "avg_pool2d": [Gradient("avg_pool2d_backward", 0, lambda ops, dy, a, y: ops.avg_pool2d_backward(dy, a[1]))],
    "global_avg_pool2d": [
        Gradient(
            "global_avg_pool2d_backward",
            0,
            lambda ops, dy, a, y: ops.global_avg_pool2d_backward(dy, a[0].shape[1:3]),
        )
    ],
    "batch_norm": [_batch_norm(0), _batch_norm(1), _batch_norm(2)],
    "batch_norm_max_pool2d": [_batch_norm_max_pool2d(argument) for argument in range(3)],
    "relu": _activation("relu"),
    "leaky_relu": _activation("leaky_relu"),
    "elu": _activation("elu"),
    "gelu": _activation("gelu"),
    "silu": _activation("silu"),
    "dropout": [Gradient("dropout_backward", 0, lambda ops, dy, a, y: ops.dropout_backward(dy, y[1], a[1]))],
    "softmax_cross_entropy": [Gradient("softmax_cross_entropy", 0, lambda ops, dy, a, y: dy * y[1])],
    "l2_penalty": [Gradient("l2_penalty_backward", 0, _l2_penalty)],
}
