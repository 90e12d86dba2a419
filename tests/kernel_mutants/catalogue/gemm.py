"""Mutants of gemm.cuh."""

from functools import partial

from kernel_mutants.mutant import Mutant

_gemm = partial(Mutant, "gemm.cuh")

GEMM = [
    _gemm(
        "barrier",
        "none before the first step is read",
        "copy_b.store(tile_b[0]);\n  __syncthreads();",
        "copy_b.store(tile_b[0]);",
    ),
    _gemm(
        "barrier",
        "none between two steps",
        "copy_b.store(tile_b[1 - half]);\n      __syncthreads();",
        "copy_b.store(tile_b[1 - half]);",
    ),
    _gemm(
        "barrier",
        "one in a branch that not every thread takes",
        "    if (more) {\n      copy_a.store",
        "    if (more && threadIdx.x < 64) {\n      copy_a.store",
    ),
    _gemm(
        "index",
        "the next step overwrites the present one",
        "copy_a.store(tile_a[1 - half])",
        "copy_a.store(tile_a[half])",
    ),
    _gemm("index", "the double buffer is not turned over", "half = 1 - half;", ""),
    _gemm("tail", "the last step is not fetched", "k0 + T::BK < k_end;", "k0 + 2 * T::BK < k_end;"),
    _gemm(
        "bound",
        "the last value of a step is left out",
        "for (int k = 0; k < T::BK; ++k)",
        "for (int k = 0; k < T::BK - 1; ++k)",
    ),
    _gemm("initial value", "sums do not begin at zero", "sums[i][j] = 0.f", "sums[i][j] = 1e-3f"),
    _gemm("bound", "rows along k: a row beyond the last", "{i < rows ? data", "{i <= rows ? data"),
    _gemm(
        "tail",
        "rows along k: what follows k counts",
        "load4<VECTOR>(cursor.row + k, k_end - k)",
        "load4<VECTOR>(cursor.row + k, 4)",
    ),
    _gemm("bound", "lines of k: a line beyond the last", "return k < k_end ? load4", "return k <= k_end ? load4"),
    _gemm("tail", "lines of k: a column beyond the last", "columns - i}", "columns - i + 1}"),
    _gemm(
        "stride",
        "lines of k: the group's columns for the matrix's",
        "data + k * ld + cursor.column",
        "data + k * columns + cursor.column",
    ),
    _gemm("index", "a thread's load begins at a fourth of its place along k", "slot % (BK / 4) * 4", "slot % (BK / 4)"),
    _gemm(
        "index",
        "the second value along k and the third change places",
        "tile[k + 1][across] = fetched[i].y;\n        tile[k + 2][across] = fetched[i].z;",
        "tile[k + 1][across] = fetched[i].z;\n        tile[k + 2][across] = fetched[i].y;",
    ),
    _gemm("bias", "the bias is forgotten", "bias ? sum + bias[column] : sum", "sum"),
    _gemm("relu", "ReLU keeps what is negative", "relu && v < 0.f ? 0.f : v", "relu && v > 0.f ? 0.f : v"),
    _gemm("NaN", "ReLU swallows NaN", "relu && v < 0.f ? 0.f : v", "relu && !(v > 0.f) ? 0.f : v"),
    _gemm("bound", "a row beyond the last is written", "if (m >= rows) continue", "if (m > rows) continue"),
    _gemm(
        "vector", "vectors beyond the last column are written", "        if (n < columns) {\n", "        if (true) {\n"
    ),
    _gemm(
        "split", "values of k that no whole step holds are lost", "(k + kSplitStep - 1) / kSplitStep", "k / kSplitStep"
    ),
    _gemm("split", "steps that equal splits leave over are lost", "(steps + splits - 1) / splits", "steps / splits"),
    _gemm("split", "the last split goes on beyond k", "end < k ? end : k}", "end}"),
    _gemm(
        "split",
        "splits overlap by a step",
        "end = begin + per_split * kSplitStep;",
        "end = begin + (per_split + 1) * kSplitStep;",
    ),
    _gemm("split", "every split sums the same part", "split = blockIdx.z % splits;", "split = 0;"),
    _gemm(
        "group",
        "groups share the place of their parts",
        "(blockIdx.z / splits * gridDim.y + blockIdx.y)",
        "(blockIdx.y)",
    ),
    _gemm("index", "tiles of a row share the place of their parts", "gridDim.x + blockIdx.x;", "gridDim.x;"),
    _gemm("race", "every split writes the tile", "if (all) write_tile", "write_tile"),
]
