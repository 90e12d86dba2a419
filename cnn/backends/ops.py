"""The contract of the backends, and its plain NumPy meaning: what every operation computes, in one class.

Images are NHWC, filters are (kh, kw, c_in / groups, c_out), everything is C-contiguous. Floating-point arrays are
float32 in training; the reference also runs float64, for gradient checks. `n` is the batch, `h, w` input pixels,
`p, q` output pixels, `c` channels, `k` filters or classes. A method returns new arrays and leaves its arguments alone
unless its docstring says "in place"; `out` names an array to fill with a parameter's gradient, which is then returned.

The families in `cnn/backends/reference/` say what each operation means, in as few lines of NumPy as that takes; they
are the oracle of the other backends. `cpu/` computes the same in Numba-compiled passes, `cuda/` in kernels; the same
family has the same file name there. A backend overrides what it does better, so it is right before it is fast.

A backend never reads a config and knows no layer; geometry arrives as a `Window` that already passed its checks. What
changes from step to step (the step, the learning rate, the choice of images) lies in arrays of the backend and never
reaches an operation as a number of the host: a captured graph would freeze it.
"""

from __future__ import annotations

from cnn.backends.reference.arrays import Arrays
from cnn.backends.reference.batches import Batches
from cnn.backends.reference.losses import Losses
from cnn.backends.reference.tail import Tail
from cnn.backends.reference.updates import Updates


class Ops(Tail, Losses, Updates, Batches, Arrays):
    """Everything that a network computes, in plain NumPy."""
