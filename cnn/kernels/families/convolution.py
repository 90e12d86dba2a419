"""Convolution kernels: implicit matrix products, and the direct ones for one channel and depthwise filters."""

from __future__ import annotations

from cnn.kernels.families.gemm_rules import PARTS, gemm_grid, variants
from cnn.kernels.families.launch_rules import ceil_div, elements
from cnn.kernels.kernel import STORAGES, Grid, Kernel, Tiling, Values, for_each_storage
from cnn.kernels.tile_choice import Product

# --- implicit matrix products -------------------------------------------------------------------------------------


def _forward(v: Values) -> Product:
    window, groups = v["window"], v["groups"]
    taps, pixels = window["kh"] * window["kw"], window["n"] * window["p"] * window["q"]
    return Product(pixels, v["filters"] // groups, taps * window["c"] // groups, groups)


def _backward_input(v: Values) -> Product:
    window, groups = v["window"], v["groups"]
    taps, pixels = window["kh"] * window["kw"], window["n"] * window["h"] * window["w"]
    return Product(pixels, window["c"] // groups, taps * v["filters"] // groups, groups)


def _backward_filter(v: Values) -> Product:
    window, groups = v["window"], v["groups"]
    taps, pixels = window["kh"] * window["kw"], window["n"] * window["p"] * window["q"]
    return Product(taps * window["c"] // groups, v["filters"] // groups, pixels, groups)


def _flops(v: Values) -> int:
    """Operations of the convolution, the same for all three products."""
    window = v["window"]
    outputs = window["n"] * window["p"] * window["q"] * v["filters"]
    return 2 * outputs * window["kh"] * window["kw"] * window["c"] // v.get("groups", window["c"])


_SIZES = "Window2D window, ConvDivmods by, int filters, int groups, int splits"
_PRODUCTS = {
    "conv_forward": (
        f"const float* x, const float* w, const float* bias?, float* y, {PARTS}, {_SIZES}, int relu",
        _forward,
    ),
    "conv_backward_input": (f"const float* dy, const float* w, float* dx, {PARTS}, {_SIZES}", _backward_input),
    "conv_backward_filter": (f"const float* x, const float* dy, float* dw, {PARTS}, {_SIZES}", _backward_filter),
}

CONVOLUTION = [
    Kernel(
        f"{function}_{variant.suffix}",
        "convolution.cu",
        f"{function}{variant.template}",
        parameters,
        (variant.tile.threads,),
        gemm_grid(tiling),
        flops=_flops,
        tiling=tiling,
    )
    for function, (parameters, product) in _PRODUCTS.items()
    for variant in variants()
    for tiling in [Tiling(variant.tile, product)]
]

# --- one channel --------------------------------------------------------------------------------------------------

# Window sizes with a kernel of their own, and filters per thread by storage type: taps times filters values are in
# registers, and a thread's filters of a pixel are one memory access.
ONE_CHANNEL = {(3, 3): {"float": 4, "bfloat16": 8}, (5, 5): {"float": 2, "bfloat16": 2}}
_DIRECT, _BLOCK = "convolution_direct.cu", 256
_MOST_BLOCKS = 2112  # 16 for each of 132 multiprocessors


def _one_channel_flops(v: Values) -> int:
    return _flops({**v, "groups": 1})


def _output_pixels(v: Values) -> int:
    window = v["window"]
    return window["n"] * window["p"] * window["q"]


def _pixel_grid(filters_per_thread: int, v: Values) -> Grid:
    """At least one thread per filter lane; then about eight pixels per thread."""
    lanes = ceil_div(v["filters"], filters_per_thread)
    wanted = ceil_div(lanes * ceil_div(_output_pixels(v), 8), _BLOCK)
    return (max(ceil_div(lanes, _BLOCK), min(wanted, _MOST_BLOCKS)),)


def one_channel_parts(output_pixels: int) -> int:
    """The number of partial sums in the filter gradient of a one-channel convolution, by the shape only."""
    return max(1, min(ceil_div(output_pixels, 256), 528))


def _one_channel(kh: int, kw: int, filters: int, storage: str) -> list[Kernel]:
    """Both kernels for windows of kh x kw, `filters` per thread."""
    ending, template = f"_{kh}x{kw}{STORAGES[storage]}", f"<{kh}, {kw}, {filters}, {storage}>"
    return [
        Kernel(
            f"conv_one_channel{ending}",
            _DIRECT,
            f"conv_one_channel{template}",
            f"const {storage}* x, const {storage}* w, const float* bias?, {storage}* y, Window2D window, "
            "FastDivmod p, FastDivmod q, int filters, int relu",
            (_BLOCK,),
            lambda v: _pixel_grid(filters, v),
            flops=_one_channel_flops,
            storage=storage,
        ),
        Kernel(
            f"conv_one_channel_backward_filter{ending}",
            _DIRECT,
            f"conv_one_channel_backward_filter{template}",
            f"const {storage}* x, const {storage}* dy, float* parts, float* dw?, unsigned* counters?, Window2D window, "
            "FastDivmod p, FastDivmod q, int filters",
            (_BLOCK,),
            lambda v: (one_channel_parts(_output_pixels(v)),),
            flops=_one_channel_flops,
            storage=storage,
        ),
    ]


CONVOLUTION += [
    kernel
    for (kh, kw), filters in ONE_CHANNEL.items()
    for storage in STORAGES
    for kernel in _one_channel(kh, kw, filters[storage], storage)
]

# --- depthwise ----------------------------------------------------------------------------------------------------


def depthwise_parts(output_pixels: int, filters: int, taps: int) -> int:
    """The number of partial sums in the filter gradient of a depthwise convolution, by the shape only."""
    blocks = ceil_div(filters, 32) * taps
    return max(1, min(ceil_div(output_pixels, 128), ceil_div(2 * _MOST_BLOCKS, blocks), 1024))


def _depthwise_filter_grid(v: Values) -> Grid:
    taps = v["window"]["kh"] * v["window"]["kw"]
    return ceil_div(v["filters"], 32), taps, depthwise_parts(_output_pixels(v), v["filters"], taps)


CONVOLUTION += [
    *for_each_storage(
        "conv_depthwise",
        _DIRECT,
        "conv_depthwise<T>",
        "const T* x, const T* w, const float* bias?, T* y, Window2D window, int filters, int relu",
        (_BLOCK,),
        lambda v: elements(per_thread=1)({"count": _output_pixels(v) * v["filters"]}),
        _flops,
    ),
    *for_each_storage(
        "conv_depthwise_backward_input",
        _DIRECT,
        "conv_depthwise_backward_input<T>",
        "const T* dy, const T* w, T* dx, Window2D window, int filters",
        (_BLOCK,),
        lambda v: elements(per_thread=1)(
            {"count": v["window"]["n"] * v["window"]["h"] * v["window"]["w"] * v["window"]["c"]}
        ),
        _flops,
    ),
    *for_each_storage(
        "conv_depthwise_backward_filter",
        _DIRECT,
        "conv_depthwise_backward_filter<T>",
        "const T* x, const T* dy, float* parts, float* dw?, unsigned* counters?, Window2D window, int filters",
        (32, 8),
        _depthwise_filter_grid,
        _flops,
    ),
]
