"""Convolutions, and dense layers as convolutions of one tap, by tensor cores."""

from __future__ import annotations

from collections.abc import Callable

from cnn.kernels.families.launch_rules import ceil_div
from cnn.kernels.families.tensor_rules import GATHER_TILES, WGRAD_TILES, TensorTile
from cnn.kernels.kernel import Grid, Kernel, Values

_SOURCE = "convolution_tensor.cu"


def _gather_grid(tile: TensorTile) -> Callable[[Values], Grid]:
    def grid(v: Values) -> Grid:
        shape = v["shape"]
        return ceil_div(shape["rows"], tile.m) * ceil_div(shape["n"], tile.n), 1, v["splits"]

    return grid


def _gather_flops(v: Values) -> int:
    shape = v["shape"]
    return 2 * shape["rows"] * shape["n"] * shape["kh"] * shape["kw"] * shape["c"]


def _wgrad_grid(tile: TensorTile) -> Callable[[Values], Grid]:
    def grid(v: Values) -> Grid:
        g = v["g"]
        return ceil_div(g["kh"] * g["kw"] * g["c"], tile.m) * ceil_div(g["n"], tile.n), 1, v["splits"]

    return grid


def _wgrad_flops(v: Values) -> int:
    g = v["g"]
    return 2 * g["pixels"] * g["kh"] * g["kw"] * g["c"] * g["n"]


_GATHERS = {
    "tensor_forward": (
        "const bfloat16* x, const bfloat16* w, const float* bias?, bfloat16* y?, float* parts?, GatherShape shape, "
        "int splits, int relu"
    ),
    "tensor_backward_input": (
        "const bfloat16* dy, const bfloat16* w, bfloat16* dx?, float* parts?, GatherShape shape, int splits"
    ),
}

TENSOR_PRODUCTS = [
    Kernel(
        f"{function}_{tile.suffix}_bf16",
        _SOURCE,
        f"{function}{tile.template}",
        parameters,
        (tile.threads,),
        _gather_grid(tile),
        flops=_gather_flops,
        storage="bfloat16",
        shared_bytes=tile.gather_bytes,
        min_arch=tile.min_arch,
        alone=True,
    )
    for function, parameters in _GATHERS.items()
    for tile in GATHER_TILES
]
TENSOR_PRODUCTS += [
    Kernel(
        f"tensor_backward_filter_{tile.suffix}_bf16",
        _SOURCE,
        f"tensor_backward_filter{tile.template}",
        "const bfloat16* x, const bfloat16* dy, float* parts, WgradShape g, int splits",
        (tile.threads,),
        _wgrad_grid(tile),
        flops=_wgrad_flops,
        storage="bfloat16",
        shared_bytes=tile.stage_bytes,
        min_arch=tile.min_arch,
        alone=True,
    )
    for tile in WGRAD_TILES
]
