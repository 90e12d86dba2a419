"""Convolutions, and dense layers as convolutions of one tap, by tensor cores."""

from __future__ import annotations

from collections.abc import Callable

from cnn.kernels.families.tensor_rules import GATHER_TILES, WGRAD_TILES, TensorTile
from cnn.kernels.kernel import Grid, Kernel, Tiling, Values
from cnn.kernels.tile_choice import Product

_SOURCE = "convolution_tensor.cu"


def _gathered(v: Values) -> Product:
    shape = v["shape"]
    taps = shape["kh"] * shape["kw"]
    return Product(shape["rows"], shape["n"], taps * shape["c"], pieces=taps)


def _filter_gradient(v: Values) -> Product:
    g = v["g"]
    return Product(g["kh"] * g["kw"] * g["c"], g["n"], g["pixels"])


def _grid(tiling: Tiling) -> Callable[[Values], Grid]:
    """Tiles along x, so that those of the same rows follow each other; parts of the sum along z."""
    return lambda v: (tiling.blocks(v), 1, v["splits"])


def _flops(tiling: Tiling) -> Callable[[Values], int]:
    def flops(v: Values) -> int:
        product = tiling.product(v)
        return 2 * product.rows * product.columns * product.k

    return flops


def _of(tile: TensorTile, parameters: str) -> str:
    """The parameters with the tile's element for T."""
    return parameters.replace("T*", f"{tile.element}*")


_GATHERS = {
    "tensor_forward": (
        "const T* x, const T* w, const float* bias?, T* y?, float* parts?, float* moments?, "
        "float* tile_moments?, unsigned* counters?, GatherShape shape, int splits, int relu"
    ),
    "tensor_backward_input": (
        "const T* dy, const T* w, T* dx?, const T* added?, float* parts?, unsigned* counters?, GatherShape shape, "
        "int splits"
    ),
}

TENSOR_PRODUCTS = [
    Kernel(
        f"{function}_{tile.suffix}",
        _SOURCE,
        f"{function}{tile.template}",
        _of(tile, parameters),
        (tile.threads,),
        _grid(tiling),
        flops=_flops(tiling),
        storage=tile.element,
        shared_bytes=tile.gather_bytes,
        min_arch=tile.min_arch,
        target=tile.target,
        tiling=tiling,
        alone=True,
    )
    for function, parameters in _GATHERS.items()
    for tile in GATHER_TILES
    for tiling in [Tiling(tile, _gathered)]
]
TENSOR_PRODUCTS += [
    Kernel(
        f"tensor_backward_filter_{tile.suffix}",
        _SOURCE,
        f"tensor_backward_filter{tile.template}",
        _of(tile, "const T* x, const T* dy, float* dw, float* parts?, unsigned* counters?, WgradShape g, int splits"),
        (tile.threads,),
        _grid(tiling),
        flops=_flops(tiling),
        storage=tile.element,
        shared_bytes=tile.stage_bytes,
        min_arch=tile.min_arch,
        target=tile.target,
        tiling=tiling,
        alone=True,
    )
    for tile in WGRAD_TILES
    for tiling in [Tiling(tile, _filter_gradient)]
]
