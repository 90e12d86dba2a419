"""Every operation once more, slowly and independently: plain loops, SciPy, and the formulas of the papers.

A function here has the name and the arguments of the operation that it checks, takes float64 NumPy arrays, and
returns a tuple: first what the operation returns, then the arguments that it changes in place, in their order. A
float32 array among the results stands for one that is float32 in every run.
"""

from backends.oracles.activations import FUNCTIONS, activation, prelu
from backends.oracles.arrays import array, constant, copy_in, stored, to_numpy, zeros
from backends.oracles.batches import (
    augmentation,
    batch_targets,
    gather_batch,
    mix_batch,
    next_augmented_batch,
    next_batch,
)
from backends.oracles.joins import add, concat, multiply, split
from backends.oracles.losses import cross_entropy, l2_penalty, l2_penalty_backward, soft_cross_entropy, softmax
from backends.oracles.normalization import group_norm, moments, normalize, running_average
from backends.oracles.pooling import avg_pool2d, global_avg_pool2d, max_pool2d, smallest_gap
from backends.oracles.products import conv2d, dense
from backends.oracles.randomness import drop_path, dropout, philox4x32_10, random_halves
from backends.oracles.tail import tail
from backends.oracles.updates import adam_update, blend, clip_by_global_norm, sgd_update

__all__ = [
    "FUNCTIONS",
    "activation",
    "adam_update",
    "add",
    "array",
    "augmentation",
    "avg_pool2d",
    "batch_targets",
    "blend",
    "clip_by_global_norm",
    "concat",
    "constant",
    "conv2d",
    "copy_in",
    "cross_entropy",
    "dense",
    "drop_path",
    "dropout",
    "gather_batch",
    "global_avg_pool2d",
    "group_norm",
    "l2_penalty",
    "l2_penalty_backward",
    "max_pool2d",
    "mix_batch",
    "moments",
    "multiply",
    "next_augmented_batch",
    "next_batch",
    "normalize",
    "philox4x32_10",
    "prelu",
    "random_halves",
    "running_average",
    "sgd_update",
    "smallest_gap",
    "soft_cross_entropy",
    "softmax",
    "split",
    "stored",
    "tail",
    "to_numpy",
    "zeros",
]
