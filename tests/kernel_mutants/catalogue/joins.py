"""Mutants of joins.cu."""

from functools import partial

from kernel_mutants.mutant import Mutant

_join = partial(Mutant, "joins.cu")

JOINS = [
    _join("sign", "add: the difference", "return u + v", "return u - v"),
    _join("sign", "multiply: the sum", "return u * v", "return u + v"),
    _join("index", "gate: the first image's for all", "load_pack<N>(gate + image * c", "load_pack<N>(gate"),
    _join(
        "index",
        "gate: images overlap",
        "(image) * pixels * c;\n    const auto factor",
        "(image) * c;\n    const auto factor",
    ),
    _join("grid", "gate: a block takes one image", "image < n; image += gridDim.z", "image < n; image += n", 1, 2),
    _join(
        "grid",
        "gate's gradient: a block takes one image",
        "image < n; image += gridDim.z",
        "image < n; image += n",
        2,
        2,
    ),
    _join(
        "bound",
        "gate: threads beyond the channels work",
        "  if (!walk.active) return;\n",
        "",
        may_survive="They have no rows, and the compiler reads the gate only where a row is written: no wrong access "
        "is left to be seen.",
    ),
    _join("vector", "gate: vectors at any address of the gate", "by_fours(c, x, gate, y)", "by_fours(c, x, y)"),
    _join("sign", "gate's gradient: the sum of both", "own.add(k, g.at[k] * v.at[k])", "own.add(k, g.at[k] + v.at[k])"),
    _join(
        "index",
        "gate's gradient: every image over the first",
        "dgate + image * c + walk.channel",
        "dgate + walk.channel",
    ),
    _join(
        "reduction", "gate's gradient: every lane writes", "if (walk.first) store_pack", "if (walk.active) store_pack"
    ),
    _join(
        "barrier", "gate's gradient: none between two images", "    __syncthreads();  // the next", "    // the next"
    ),
    _join(
        "index", "channels: parts begin at the first", "row * y_pitch + y_first + channel", "row * y_pitch + channel"
    ),
    _join(
        "index",
        "channels: the source begins at its first",
        "row * x_pitch + x_first + channel",
        "row * x_pitch + channel",
    ),
    _join("stride", "channels: rows of the part as long as the whole", "row * x_pitch", "row * y_pitch"),
    _join(
        "vector",
        "channels: vectors although a part does not begin at a fourth channel",
        "(channels | x_pitch | x_first | y_pitch | y_first) % 4 == 0",
        "(channels | x_pitch | y_pitch) % 4 == 0",
    ),
    _join(
        "grid",
        "channels: a thread takes one pack and no more",
        "i < count; i += grid_threads()",
        "i < count; i += count",
    ),
]
