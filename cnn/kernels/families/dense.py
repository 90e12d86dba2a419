"""Matrix products of dense layers, and the sum over the partial sums of a split product."""

from __future__ import annotations

from cnn.kernels.families.gemm_rules import gemm_grid, variants
from cnn.kernels.families.launch_rules import elements
from cnn.kernels.kernel import Kernel, Tiling, Values, for_each_storage
from cnn.kernels.tile_choice import Product

_SOURCE = "dense.cu"
_SIZES = "int rows, int k, int columns, int splits"
_PARAMETERS = {
    "dense_forward": f"const float* x, const float* w, const float* bias?, float* y, {_SIZES}, int relu",
    "dense_backward_input": f"const float* dy, const float* w, float* dx, {_SIZES}",
    "dense_backward_filter": f"const float* x, const float* dy, float* dw, {_SIZES}",
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
DENSE += for_each_storage(
    "sum_splits",
    _SOURCE,
    "sum_splits<T>",
    "const float* parts, const float* bias?, T* y, int count, int splits, int columns, int relu",
    (256,),
    elements(per_thread=1),
    flops=lambda v: v["count"] * v["splits"],
)
