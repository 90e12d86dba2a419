"""The operations of all backends in one class, defined by an implementation in plain NumPy.

Images are NHWC, filters are (kh, kw, c_in / groups, c_out), everything is C-contiguous. Floating-point arrays are
float32 in training; the reference also runs float64, for gradient checks. `n` is the batch, `h, w` input pixels,
`p, q` output pixels, `c` channels, `k` filters or classes. A method returns new arrays and does not change its
arguments unless its docstring says "in place"; `out` is an array that receives the gradient of a parameter and is then
returned.

The activations and weights of a network in bfloat16 are arrays that `stored` returned. CUDA has such arrays in a type
of their own, and an operation on them returns one, except for the gradient of a parameter, which is float32; all sums
are accumulated in float32. The other backends keep bfloat16 numbers in float32 arrays and return unrounded results.

The modules in `cnn/backends/reference/` define the operations in as few lines of NumPy as possible; they are the
oracle of the other backends. `cpu/` computes the same in Numba-compiled passes, `cuda/` in kernels, in modules of the
same names. A backend inherits the reference and overrides the operations that it computes faster.

A backend does not read a config and does not know layers; geometry is passed as a checked `Window`. Values that change
from step to step (the step, the learning rate, the indices of the images) are in arrays of the backend. They are never
passed as numbers of the host, which would be constants in a captured graph.
"""

from __future__ import annotations

from cnn.backends.reference.arrays import Arrays
from cnn.backends.reference.batches import Batches
from cnn.backends.reference.losses import Losses
from cnn.backends.reference.tail import Tail
from cnn.backends.reference.updates import Updates


class Ops(Tail, Losses, Updates, Batches, Arrays):
    """Everything that a network computes, in plain NumPy."""
