"""Matrix products of dense layers."""

from __future__ import annotations

from cnn.kernels.families.gemm_rules import PARTS, gemm_grid, variants
from cnn.kernels.families.launch_rules import elements
from cnn.kernels.kernel import Kernel, Tiling, Values
from cnn.kernels.tile_choice import Product

_SOURCE = "dense.cu"
_SIZES = "int rows, int k, int columns, int splits"
_PARAMETERS = {
    "dense_forward": f"const float* x, const float* w, const float* bias?, float* y, {PARTS}, {_SIZES}, int relu",
    "dense_backward_input": f"const float* dy, const float* w, float* dx, {PARTS}, {_SIZES}",
    "dense_backward_filter": f"const float* x, const float* dy, float* dw, {PARTS}, {_SIZES}",
}


def _product(values: Values) -> Product:
    return Product(values["rows"], values["columns"], values["k"])


DENSE = [
    Kernel(
        f"{function}_{variant.suffix}",
        _SOURCE,
        f"{function}{variant.template}",
        parameters,
        (variant.tile.threads,),
        gemm_grid(tiling),
        flops=lambda v: 2 * v["rows"] * v["k"] * v["columns"],
        tiling=tiling,
    )
    for function, parameters in _PARAMETERS.items()
    for variant in variants()
    for tiling in [Tiling(variant.tile, _product)]
]
DENSE += [
    Kernel(
        "add_bias",
        _SOURCE,
        "add_bias",
        "const float* x, const float* bias?, float* y, int count, int columns, int relu",
        (256,),
        elements(per_thread=1),
        flops=lambda v: v["count"],
    )
]
