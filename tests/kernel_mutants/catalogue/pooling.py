"""Mutants of pooling.cu."""

from functools import partial

from kernel_mutants.mutant import Mutant

_pool = partial(Mutant, "pooling.cu")

POOLING = [
    _pool(
        "index",
        "rows and columns change places",
        "line = pixel / columns, image = line / rows;",
        "line = pixel / rows, image = line / columns;",
    ),
    _pool(
        "stride",
        "the horizontal stride for rows",
        "at.row * window.stride_h - window.top",
        "at.row * window.stride_w - window.top",
    ),
    _pool(
        "padding",
        "padding on top instead of on the left",
        "at.column * window.stride_w - window.left;",
        "at.column * window.stride_w - window.top;",
    ),
    _pool(
        "bound",
        "the column right of the image is inside",
        "column >= 0 && column < window.w;\n  };",
        "column >= 0 && column <= window.w;\n  };",
    ),
    _pool("dilation", "small windows: rows without dilation", "tap / K * window.dilation_h", "tap / K"),
    _pool(
        "tap",
        "any window: rows of taps as long as the window is high",
        "visit(pixels[k], r * window.kw + begin + k)",
        "visit(pixels[k], r * window.kh + begin + k)",
    ),
    _pool("tie", "of equal taps the last counts", "pixel.at[k] > largest.at[k]", "pixel.at[k] >= largest.at[k]"),
    _pool(
        "padding",
        "padding can win",
        "if (inside[tap]) pixels[tap] = pixel(row, column);",
        "pixels[tap] = {}; if (inside[tap]) pixels[tap] = pixel(row, column); inside[tap] = true;",
    ),
    _pool("NaN", "a maximum swallows NaN", "if (larger || pixel.at[k] != pixel.at[k])", "if (larger)"),
    _pool(
        "vector",
        "maximum: vectors at any address of x",
        "by_fours(window.c, x, y, argmax)",
        "by_fours(window.c, y, argmax)",
    ),
    _pool(
        "vector",
        "average: vectors at any address of dx",
        "by_fours(window.c, dy, dx)",
        "by_fours(window.c, dy)",
        may_survive="dx is always a new array, which begins where a vector may lie",
    ),
    _pool("bound", "means: a tap too many at the end", "end - start - 1, dilation", "end - start, dilation"),
    _pool(
        "division",
        "means: taps before the image rounded down",
        "begin - start + dilation - 1, dilation",
        "begin - start, dilation",
    ),
    _pool("bound", "means: more taps than there are", "min(taps, quotient(end", "(quotient(end"),
    _pool("padding", "means: the counted margin above is not counted", "-counted.top,", "0,"),
    _pool(
        "padding",
        "means: the counted margin on the right is that below",
        "window.w + counted.right",
        "window.w + counted.bottom",
    ),
    _pool("padding", "means: all taps count", "max(rows * columns, 1)", "max(window.kh * window.kw, 1)"),
    _pool(
        "grid",
        "average: a thread takes one item and no more",
        "item < items; item += grid_threads()",
        "item < items; item += items",
        2,
        3,
    ),
    _pool("bound", "gradients: the row below the output is inside", "if (i >= window.p ||", "if (i > window.p ||"),
    _pool(
        "dilation",
        "gradients: pixels between two taps count",
        " || r * window.dilation_h != down) continue",
        ") continue",
    ),
    _pool("stride", "gradients: windows a pixel apart", "--i, down += window.stride_h", "--i, down += 1"),
    _pool(
        "padding",
        "gradients: padding above is not counted in strides",
        "first_row = window.top / window.stride_h,",
        "first_row = window.top,",
    ),
    _pool(
        "tail",
        "gradients: the last row of cells is lost",
        "window.stride_h - first_row + 1;",
        "window.stride_h - first_row;",
    ),
    _pool("bound", "gradients: the first row of a cell alone", "a < window.stride_h; ++a", "a < 1; ++a"),
    _pool(
        "padding",
        "gradients: columns are not moved by the padding",
        "window.stride_w + b - window.left;",
        "window.stride_w + b;",
    ),
    _pool("tap", "maximum's gradient: later argmaxes count too", "number.at[k] == tap ?", "number.at[k] >= tap ?"),
    _pool(
        "tail", "whole image: the pixels left over are lost", "pixels / rows + (row < pixels % rows)", "pixels / rows"
    ),
    _pool(
        "bound", "whole image: a lane beyond the channels works", "count = channel < c ? ", "count = channel <= c ? "
    ),
    _pool(
        "index",
        "whole image: wide blocks take the wrong channels",
        "(blockIdx.x - image * groups) * lanes",
        "blockIdx.x * lanes",
    ),
    _pool(
        "reduction",
        "whole image: the last two halves are not added",
        "half >= mine.lanes; half /= 2",
        "half > mine.lanes; half /= 2",
    ),
    _pool(
        "barrier",
        "whole image: none before the first halves",
        "sums[t] = sum.total();\n  __syncthreads();",
        "sums[t] = sum.total();",
    ),
    _pool(
        "barrier",
        "whole image: none between two halves",
        "sums[t] += sums[t + half];\n    __syncthreads();",
        "sums[t] += sums[t + half];",
    ),
    _pool(
        "bound",
        "whole image: lanes beyond the channels write",
        "if (t < mine.lanes && mine.channel < c)",
        "if (t < mine.lanes)",
    ),
    _pool(
        "bound",
        "whole image's gradient: lanes beyond the channels read",
        "if (mine.count == 0) return;",
        "",
    ),
]
