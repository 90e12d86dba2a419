"""Mutants of convolution.cu."""

from functools import partial

from kernel_mutants.mutant import Mutant

_conv = partial(Mutant, "convolution.cu")

CONVOLUTION = [
    # --- windows: forward ---
    _conv(
        "bound",
        "windows: an output pixel beyond the last",
        "if (m >= window.n * window.p",
        "if (m > window.n * window.p",
    ),
    _conv(
        "stride",
        "windows: the horizontal stride for rows",
        "i * window.stride_h - window.top,",
        "i * window.stride_w - window.top,",
    ),
    _conv(
        "padding",
        "windows: padding is forgotten on the left",
        "j * window.stride_w - window.left};",
        "j * window.stride_w};",
    ),
    _conv(
        "dilation",
        "windows: the horizontal dilation for rows",
        "cursor.top + r * window.dilation_h",
        "cursor.top + r * window.dilation_w",
    ),
    _conv("bound", "windows: the row below the image is inside", "i >= window.h || j < 0", "i > window.h || j < 0"),
    _conv(
        "index",
        "windows: lines as long as the image is high",
        "(i * window.w + j) * window.c + c",
        "(i * window.h + j) * window.c + c",
    ),
    _conv(
        "tap",
        "windows: the next tap's channels are read at this tap",
        "if (++c == channels) c = 0, ++tap;",
        "if (++c == channels) c = 0;",
    ),
    _conv(
        "group",
        "forward: a group begins at a wrong channel",
        "{x + group * channels, window, by, channels};",
        "{x + group * group_filters, window, by, channels};",
        1,
        2,
    ),
    _conv("group", "forward: every group takes the first group's bias", "bias + first : nullptr", "bias : nullptr"),
    _conv(
        "group",
        "forward: group and split change places",
        "group = blockIdx.z / splits",
        "group = blockIdx.z % splits",
        1,
        3,
    ),
    # --- reaching gradients: data gradient ---
    _conv("padding", "data gradient: padding is forgotten on top", "i + window.top,", "i,"),
    _conv(
        "unsigned",
        "data gradient: rows above the image are divided",
        "if (from_i < 0 || from_j < 0)",
        "if (from_j < 0)",
    ),
    _conv(
        "sign",
        "data gradient: taps the wrong way round",
        "cursor.row - r * window.dilation_h",
        "cursor.row + r * window.dilation_h - (window.kh - 1) * window.dilation_h",
    ),
    _conv(
        "stride",
        "data gradient: columns between two strides count",
        "if (remainder_i || remainder_j ||",
        "if (remainder_i ||",
    ),
    _conv(
        "bound",
        "data gradient: the row below the output is inside",
        "i >= window.p || j >= window.q",
        "i > window.p || j >= window.q",
    ),
    _conv(
        "group",
        "data gradient: all filters for a tap instead of the group's",
        "if (++f == group_filters) f = 0, ++tap;",
        "if (++f == filters) f = 0, ++tap;",
        1,
        2,
    ),
    _conv("bound", "data gradient: a channel beyond the last", "c < channels ? c : -1", "c <= channels ? c : -1"),
    _conv("tail", "data gradient: filters beyond k are read", "k + e < k_end ? w[", "true ? w["),
    _conv(
        "index",
        "data gradient: channel and tap change places in w",
        "w[(tap * channels + cursor.channel)",
        "w[(cursor.channel * channels + tap)",
    ),
    _conv(
        "index",
        "data gradient: channel and tap change places in w's vectors",
        "w + (tap * channels + cursor.channel)",
        "w + (cursor.channel * channels + tap)",
    ),
    # --- windows of a tap: filter gradient ---
    _conv(
        "tap",
        "filter gradient: a tap's row by the window's height",
        "tap / window.kw * window.dilation_h",
        "tap / window.kh * window.dilation_h",
    ),
    _conv(
        "padding",
        "filter gradient: padding is added",
        "* window.dilation_w - window.left",
        "* window.dilation_w + window.left",
    ),
    _conv("stride", "filter gradient: rows without stride", "p * window.stride_h + cursor.row[e]", "p + cursor.row[e]"),
    _conv(
        "bound", "filter gradient: the row above the image is inside", "&& i >= 0 && i < window.h", "&& i < window.h"
    ),
    _conv(
        "vector",
        "filter gradient: four rows share the first one's tap",
        "const int tap = (m + e) / channels",
        "const int tap = m / channels",
    ),
    _conv(
        "group",
        "filter gradient: every group is written over the first",
        "gemm<T, VECTOR>(a, b, dw + first",
        "gemm<T, VECTOR>(a, b, dw",
    ),
]
