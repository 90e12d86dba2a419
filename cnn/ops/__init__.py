"""The operations of networks as functions on NumPy or CuPy arrays, without a model.

Images are (n, h, w, c), filters (kh, kw, c / groups, k). NumPy arrays of float32 or float64 are computed by the CPU
engine if Numba is installed, else by the reference in plain NumPy; CuPy arrays of float32 by this project's kernels,
on the current device and the current stream. All arrays of a call have one library and one dtype, and so do the
results. Arguments are not changed; an array that is not C-contiguous is copied first.

Each function checks its arguments before it computes: TypeError for an argument that is not such an array or has
another dtype, ValueError for shapes that do not fit together and for arrays without elements.
"""

from cnn.ops.activations import activation, activation_backward
from cnn.ops.convolution import bias_backward, conv2d, conv2d_backward_filter, conv2d_backward_input
from cnn.ops.losses import cross_entropy, softmax
from cnn.ops.normalization import (
    batch_norm,
    batch_norm_backward,
    group_norm,
    group_norm_backward,
    layer_norm,
    layer_norm_backward,
)
from cnn.ops.pooling import (
    avg_pool2d,
    avg_pool2d_backward,
    global_avg_pool2d,
    global_avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)

__all__ = [
    "activation",
    "activation_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "bias_backward",
    "conv2d",
    "conv2d_backward_filter",
    "conv2d_backward_input",
    "cross_entropy",
    "global_avg_pool2d",
    "global_avg_pool2d_backward",
    "group_norm",
    "group_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "softmax",
]
