"""Mutants of convolution_direct.cu."""

from functools import partial

from kernel_mutants.mutant import Mutant

_direct = partial(Mutant, "convolution_direct.cu")

CONVOLUTION_DIRECT = [
    # --- one channel ---
    _direct(
        "tail",
        "one channel: filters that fill no lane are lost",
        "filter_lanes = (filters + FILTERS - 1) / FILTERS;",
        "filter_lanes = max(filters / FILTERS, 1);",
    ),
    _direct(
        "padding",
        "one channel: padding on top instead of on the left",
        "left = j * window.stride_w - window.left;\n  const T* pixels",
        "left = j * window.stride_w - window.top;\n  const T* pixels",
    ),
    _direct(
        "stride",
        "one channel: the horizontal stride for rows",
        "top = i * window.stride_h - window.top, left = j * window.stride_w - window.left;\n  const T* pixels",
        "top = i * window.stride_w - window.top, left = j * window.stride_w - window.left;\n  const T* pixels",
    ),
    _direct(
        "dilation",
        "one channel: the horizontal dilation for rows",
        "const int row = top + r * window.dilation_h;\n    const bool inside",
        "const int row = top + r * window.dilation_w;\n    const bool inside",
    ),
    _direct(
        "bound",
        "one channel: biases beyond the last filter are read",
        "bias && valid ? bias",
        "bias ? bias",
    ),
    _direct("relu", "one channel: no ReLU", "sums.at[f] = relu && sum < 0.f ? 0.f : sum;", "sums.at[f] = sum;"),
    _direct(
        "vector",
        "one channel: vectors of filters that do not come in packs",
        "vector = filters % FILTERS == 0 && packs_at<FILTERS>(y)",
        "vector = packs_at<FILTERS>(y)",
    ),
    _direct(
        "index",
        "one channel: a run's pixels share one window",
        "values[t / KW][t % KW + i], taps",
        "values[t / KW][t % KW], taps",
    ),
    _direct(
        "index",
        "one channel: the filter gradient's second pixel has the first's window",
        "values[t / KW][t % KW + i], d[i]",
        "values[t / KW][t % KW], d[i]",
    ),
    _direct(
        "stride",
        "one channel: runs for windows that move by two pixels",
        " && window.stride_w == 1 && window",
        " && window",
    ),
    _direct("dilation", "one channel: runs for dilated windows", " && window.dilation_w == 1;", ";"),
    _direct(
        "tail",
        "one channel: runs beyond the end of a row",
        "window.q % kRun == 0 && window.stride_w",
        "window.stride_w",
    ),
    _direct(
        "vector",
        "one channel: vectors at any address of dy",
        "filters % FILTERS == 0 && packs_at<FILTERS>(dy)",
        "filters % FILTERS == 0",
    ),
    _direct(
        "barrier",
        "one channel: none before the next tap",
        "__syncthreads();  // the tap before this one has been read",
        "",
    ),
    _direct(
        "barrier",
        "one channel: none before the lanes are summed",
        "sums[t / KW][t % KW][f];\n      __syncthreads();",
        "sums[t / KW][t % KW][f];",
    ),
    _direct(
        "reduction",
        "one channel: the last pixel lane is lost",
        "lane < pixel_lanes; ++lane",
        "lane < pixel_lanes - 1; ++lane",
    ),
    _direct(
        "split",
        "one channel: pixels that equal blocks leave over are lost",
        "per_block = (runs + blocks - 1) / blocks",
        "per_block = runs / blocks",
    ),
    _direct(
        "bound",
        "one channel: filters beyond the block's lanes are lost",
        "base < filters; base +=",
        "base < 1; base +=",
    ),
    _direct(
        "index",
        "one channel: every part is written over the first",
        "parts[(block * KH * KW + t) * filters + base",
        "parts[t * filters + base",
    ),
    # --- depthwise ---
    _direct(
        "index", "depthwise: filters take channels in turn", "channel = k / multiplier;", "channel = k % window.c;"
    ),
    _direct(
        "padding",
        "depthwise: padding on the left instead of on top",
        "const int top = i * window.stride_h - window.top, left = j * window.stride_w - window.left;\n    float sum",
        "const int top = i * window.stride_h - window.left, left = j * window.stride_w - window.left;\n    float sum",
    ),
    _direct(
        "stride",
        "depthwise: the vertical stride for columns",
        "left = j * window.stride_w - window.left;\n    float sum",
        "left = j * window.stride_h - window.left;\n    float sum",
    ),
    _direct(
        "dilation",
        "depthwise: the vertical dilation for columns",
        "left + s * window.dilation_w;\n        if (column",
        "left + s * window.dilation_h;\n        if (column",
    ),
    _direct(
        "tap",
        "depthwise: rows of taps as long as the window is high",
        "w[(r * window.kw + s) * filters + k]",
        "w[(r * window.kh + s) * filters + k]",
    ),
    _direct("bias", "depthwise: the bias is forgotten", "if (bias) sum += bias[k];", ""),
    _direct(
        "NaN",
        "depthwise: ReLU swallows NaN",
        "assign(y[e], relu && sum < 0.f ? 0.f : sum)",
        "assign(y[e], relu ? fmaxf(sum, 0.f) : sum)",
    ),
    _direct(
        "unsigned",
        "depthwise data gradient: rows above the output",
        "if (from_i < 0 || from_i % window.stride_h",
        "if (from_i % window.stride_h",
    ),
    _direct(
        "stride",
        "depthwise data gradient: columns between two strides count",
        "from_j < 0 || from_j % window.stride_w || j",
        "from_j < 0 || j",
    ),
    _direct("bound", "depthwise data gradient: a channel's first filter alone", "k < multiplier; ++k", "k < 1; ++k"),
    _direct(
        "tap",
        "depthwise data gradient: rows of taps as long as the window is high",
        "w + (r * window.kw + s)",
        "w + (r * window.kh + s)",
    ),
    _direct(
        "tap",
        "depthwise filter gradient: a tap's row by the window's height",
        "r = tap / window.kw, s = tap % window.kw",
        "r = tap / window.kh, s = tap % window.kh",
    ),
    _direct("bound", "depthwise filter gradient: every ninth pixel", "m < end; m += 8", "m < end; m += 9"),
    _direct("reduction", "depthwise filter gradient: the last lane is lost", "l < 8; ++l", "l < 7; ++l"),
    _direct(
        "barrier",
        "depthwise filter gradient: none before the lanes are summed",
        "lane_sums[lane][threadIdx.x] = sum;\n  __syncthreads();",
        "lane_sums[lane][threadIdx.x] = sum;",
    ),
    _direct(
        "split",
        "depthwise filter gradient: chunks overlap by a pixel",
        "begin = min(chunk * per_chunk, pixels), end = min(begin + per_chunk, pixels)",
        "begin = min(chunk * per_chunk, pixels), end = min(begin + per_chunk + 1, pixels)",
    ),
    _direct(
        "index",
        "depthwise filter gradient: rows and columns of taps in the parts",
        "(chunk * static_cast<int>(gridDim.y) + tap)",
        "(tap * static_cast<int>(gridDim.z) + chunk)",
    ),
    _direct(
        "grid",
        "depthwise: a thread takes one element and no more",
        "e < count; e += gridDim.x * blockDim.x",
        "e < count; e += count",
        1,
        2,
    ),
]
