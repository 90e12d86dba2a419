"""The ops contract: one method per operation, forward and backward, that every backend implements alike.

Images are NHWC, filters are (kh, kw, c_in / groups, c_out), everything is C-contiguous, and `float` below means
the array's own floating type (float32 in training; NumPy also runs float64, for gradient checks). `n` is the
batch, `h, w` input pixels, `p, q` output pixels, `c` channels, `k` filters or classes. A method returns new
arrays and leaves its arguments alone unless its docstring says "in place".

Where an operation takes `relu`, true means that it returns max(result, 0), what `relu` would make of its result: an
activation in the same pass over memory. Its gradient needs the output y alone, since `relu_backward` asks only where
it is positive.

A backend never reads a config and knows no layer; geometry arrives as a `Window` that already passed its checks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from cnn.backends.philox import RandomKey
from cnn.backends.window import Window

Array = Any  # numpy.ndarray or cupy.ndarray: the two share no base class


class Ops(ABC):
    """Everything that a network computes."""

    name: str
    device: str  # what it computes on, for the record of a run
    # Whether `batch_norm_max_pool2d` is better than its two parts; if not, models call the parts.
    pools_with_batch_norm = False

    # --- arrays -----------------------------------------------------------------------------------------------

    @abstractmethod
    def array(self, values: NDArray[Any]) -> Array:
        """Copy of a NumPy array, of the same shape and dtype, where this backend computes."""

    @abstractmethod
    def constant(self, values: NDArray[Any]) -> Array:
        """As `array`, for values that nobody will change: the backend may keep what it derives from them."""

    @abstractmethod
    def to_numpy(self, x: Array) -> NDArray[Any]:
        """The array on the host; waits for pending work. Not necessarily a copy."""

    @abstractmethod
    def zeros_like(self, x: Array) -> Array:
        """Zeros of x's shape and dtype."""

    @abstractmethod
    def add(self, a: Array, b: Array) -> Array:
        """a + b for equal shapes (the join of a residual connection)."""

    # --- convolution and dense --------------------------------------------------------------------------------

    @abstractmethod
    def conv2d(self, x: Array, w: Array, b: Array | None, window: Window, groups: int, relu: bool = False) -> Array:
        """Cross-correlation: x (n, h, w, c) with w (kh, kw, c / groups, k) and bias b (k,) gives (n, p, q, k).

        Filter j sees the channels of group `j // (k / groups)`; groups = c is a depthwise convolution.
        """

    @abstractmethod
    def conv2d_backward_input(self, dy: Array, w: Array, window: Window, groups: int) -> Array:
        """dy (n, p, q, k) to dx (n, h, w, c)."""

    @abstractmethod
    def conv2d_backward_filter(self, dy: Array, x: Array, window: Window, groups: int) -> Array:
        """dy (n, p, q, k) and the input x (n, h, w, c) to dw (kh, kw, c / groups, k)."""

    @abstractmethod
    def bias_backward(self, dy: Array) -> Array:
        """dy (..., k) summed over all but the last axis: db (k,)."""

    @abstractmethod
    def dense(self, x: Array, w: Array, b: Array | None, relu: bool = False) -> Array:
        """x (n, c) times w (c, k) plus b (k,): (n, k)."""

    @abstractmethod
    def dense_backward_input(self, dy: Array, w: Array) -> Array:
        """dy (n, k) to dx (n, c)."""

    @abstractmethod
    def dense_backward_filter(self, dy: Array, x: Array) -> Array:
        """dy (n, k) and the input x (n, c) to dw (c, k)."""

    # --- pooling ----------------------------------------------------------------------------------------------

    @abstractmethod
    def max_pool2d(self, x: Array, window: Window) -> tuple[Array, Array]:
        """x (n, h, w, c) to y (n, p, q, c) and the winning tap (n, p, q, c) uint8 or int32, numbered row by row.

        Padding never wins. Of equal taps the first wins.
        """

    @abstractmethod
    def max_pool2d_backward(self, dy: Array, winner: Array, window: Window) -> Array:
        """dy (n, p, q, c) and the winners of the forward pass to dx (n, h, w, c)."""

    @abstractmethod
    def avg_pool2d(self, x: Array, window: Window) -> Array:
        """x (n, h, w, c) to the mean of the window's pixels inside the image, padding not counted: (n, p, q, c)."""

    @abstractmethod
    def avg_pool2d_backward(self, dy: Array, window: Window) -> Array:
        """dy (n, p, q, c) to dx (n, h, w, c)."""

    @abstractmethod
    def global_avg_pool2d(self, x: Array) -> Array:
        """x (n, h, w, c) to the mean over all pixels: (n, c)."""

    @abstractmethod
    def global_avg_pool2d_backward(self, dy: Array, hw: tuple[int, int]) -> Array:
        """dy (n, c) to dx (n, h, w, c) for an input of `hw` pixels."""

    # --- batch normalisation (Ioffe & Szegedy 2015) -------------------------------------------------------------

    @abstractmethod
    def batch_norm(
        self, x: Array, gamma: Array, beta: Array, eps: float, relu: bool = False
    ) -> tuple[Array, Array, Array]:
        """Normalise x (..., c) per channel by its own statistics: y like x, mean (c,), biased variance (c,)."""

    @abstractmethod
    def batch_norm_backward(
        self,
        dy: Array,
        x: Array,
        gamma: Array,
        mean: Array,
        variance: Array,
        eps: float,
        y: Array | None = None,
        relu_before: bool = False,
    ) -> tuple[Array, Array, Array]:
        """Gradients (dx like x, dgamma (c,), dbeta (c,)), through the batch statistics too.

        With y, the output of a forward pass that applied `relu`, dy counts only where y > 0. `relu_before` says that
        x is what a ReLU returned; then dx is the gradient of that ReLU's input, zero where x is not positive.
        """

    @abstractmethod
    def batch_norm_inference(
        self, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, eps: float, relu: bool = False
    ) -> Array:
        """Normalise x (..., c) by given statistics (c,)."""

    # --- batch normalisation with a max pooling of it, where no one else wants the normalised image -----------------

    @abstractmethod
    def batch_norm_max_pool2d(
        self, x: Array, gamma: Array, beta: Array, eps: float, window: Window, relu: bool = False
    ) -> tuple[Array, Array, Array, Array]:
        """`batch_norm`, then `max_pool2d` of its y: y and winner (n, p, q, c), mean (c,), biased variance (c,)."""

    @abstractmethod
    def batch_norm_max_pool2d_inference(
        self,
        x: Array,
        gamma: Array,
        beta: Array,
        mean: Array,
        variance: Array,
        eps: float,
        window: Window,
        relu: bool = False,
    ) -> Array:
        """`batch_norm_inference`, then `max_pool2d`: y (n, p, q, c)."""

    @abstractmethod
    def batch_norm_max_pool2d_backward(
        self,
        dy: Array,
        winner: Array,
        y: Array,
        x: Array,
        gamma: Array,
        mean: Array,
        variance: Array,
        eps: float,
        window: Window,
        relu: bool = False,
        relu_before: bool = False,
    ) -> tuple[Array, Array, Array]:
        """Gradients (dx like x, dgamma (c,), dbeta (c,)) for dy (n, p, q, c) of the pooled y.

        `relu` and `relu_before` as in the forward pass and in `batch_norm_backward`.
        """

    @abstractmethod
    def running_average(self, running: Array, current: Array, momentum: float) -> None:
        """In place: running = momentum * running + (1 - momentum) * current."""

    # --- activations: y of x, and dx of dy and the forward's *input* x; shapes all equal ------------------------

    @abstractmethod
    def relu(self, x: Array) -> Array:
        """max(x, 0)."""

    @abstractmethod
    def relu_backward(self, dy: Array, x: Array) -> Array:
        """Dy where x > 0, else 0. The forward's output may stand in for x: both are positive together."""

    @abstractmethod
    def leaky_relu(self, x: Array, slope: float) -> Array:
        """X where x > 0, else slope * x."""

    @abstractmethod
    def leaky_relu_backward(self, dy: Array, x: Array, slope: float) -> Array:
        """Dy where x > 0, else slope * dy."""

    @abstractmethod
    def elu(self, x: Array, alpha: float) -> Array:
        """X where x > 0, else alpha * (exp(x) - 1) (Clevert et al. 2015)."""

    @abstractmethod
    def elu_backward(self, dy: Array, x: Array, alpha: float) -> Array:
        """Dy where x > 0, else dy * alpha * exp(x)."""

    @abstractmethod
    def gelu(self, x: Array) -> Array:
        """X * Phi(x) with the exact normal distribution function, not its tanh fit (Hendrycks & Gimpel 2016)."""

    @abstractmethod
    def gelu_backward(self, dy: Array, x: Array) -> Array:
        """Dy * (Phi(x) + x * phi(x))."""

    @abstractmethod
    def silu(self, x: Array) -> Array:
        """X * sigmoid(x) (Elfwing et al. 2017)."""

    @abstractmethod
    def silu_backward(self, dy: Array, x: Array) -> Array:
        """Dy * s * (1 + x * (1 - s)) with s = sigmoid(x)."""

    # --- dropout (Srivastava et al. 2014), inverted --------------------------------------------------------------

    @abstractmethod
    def dropout(self, x: Array, rate: float, key: RandomKey) -> tuple[Array, Array]:
        """Y like x and the mask, uint8, 1 where an element is kept.

        Element e (C order) is kept where its 16 random bits (`philox.random_halves`) are at least
        t = round(rate * 65536), and is then scaled by 65536 / (65536 - t).
        """

    @abstractmethod
    def dropout_backward(self, dy: Array, mask: Array, rate: float) -> Array:
        """Dx = dy * mask * 65536 / (65536 - t)."""

    # --- loss ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def softmax(self, logits: Array) -> Array:
        """Probabilities (n, k) of logits (n, k)."""

    @abstractmethod
    def soft_targets(self, labels: Array, classes: int, smoothing: float, like: Array) -> Array:
        """Labels (n,) int64 as distributions (n, classes) of `like`'s dtype.

        The true class gets 1 - smoothing + smoothing / classes, the others smoothing / classes
        (Szegedy et al. 2016).
        """

    @abstractmethod
    def softmax_cross_entropy(self, logits: Array, targets: Array, weights: Array) -> tuple[Array, Array]:
        """Mean over the batch of weights (n,) times cross-entropy of targets (n, k), with its gradient.

        Returns loss () and dlogits (n, k). The mean divides by n, not by the sum of weights.
        """

    @abstractmethod
    def l2_penalty(self, w: Array, coefficient: float) -> Array:
        """Coefficient * sum(w ** 2), a scalar array ()."""

    @abstractmethod
    def l2_penalty_backward(self, w: Array, coefficient: float, dw: Array) -> None:
        """In place: dw += 2 * coefficient * w."""

    @abstractmethod
    def count_correct(self, logits: Array, labels: Array) -> Array:
        """How many rows of logits (n, k) have their maximum at labels (n,): a scalar array () of integers."""

    # --- parameter updates: lists of equally shaped tensors, all in place --------------------------------------

    @abstractmethod
    def sgd_update(
        self,
        params: Sequence[Array],
        grads: Sequence[Array],
        velocities: Sequence[Array],
        *,
        learning_rate: float,
        momentum: float,
        nesterov: bool,
        weight_decay: Sequence[float],
        decoupled: bool,
    ) -> None:
        """Stochastic gradient descent with (Nesterov) momentum, for every tensor at once.

        `v = momentum * v + g; p -= lr * (g + momentum * v if nesterov else v)`. Weight decay, one number per
        tensor, is added to g as `decay * p`, or, decoupled, taken off as `p -= lr * decay * p` before the step.
        """

    @abstractmethod
    def adam_update(
        self,
        params: Sequence[Array],
        grads: Sequence[Array],
        first_moments: Sequence[Array],
        second_moments: Sequence[Array],
        *,
        learning_rate: float,
        beta1: float,
        beta2: float,
        eps: float,
        step: int,
        weight_decay: Sequence[float],
        decoupled: bool,
    ) -> None:
        """Adam (Kingma & Ba 2015, algorithm 1); decoupled decay makes it AdamW (Loshchilov & Hutter 2019).

        `step` counts from 1. Weight decay acts as in `sgd_update`.
        """

    # --- batches ------------------------------------------------------------------------------------------------

    @abstractmethod
    def gather_batch(
        self,
        images: Array,
        indices: Array,
        affine: Array,
        erase: Array,
        scale: Array,
        offset: Array,
    ) -> Array:
        """Pick, warp, normalise and erase in one go: images (m, h, w, c) uint8 to (n, h, w, c) of scale's dtype.

        Picture k of the batch is made from `images[indices[k]]` (int64). With a = affine[k] of affine (n, 2, 3)
        float32, its pixel (row i, column j) reads the input at the position, in float32,

            row    = (a[0, 0] * i + a[0, 1] * j) + a[0, 2], clamped to 0 ... h - 1
            column = (a[1, 0] * i + a[1, 1] * j) + a[1, 2], clamped to 0 ... w - 1

        so the rim is repeated outwards. The four pixels around the position mix in scale's dtype, where v00, v01 are
        the upper two and v10, v11 the lower two (outside the image the nearest inside), and fr and fc are what row
        and column have beyond whole numbers:

            top = v00 + fc * (v01 - v00), bottom = v10 + fc * (v11 - v10), value = top + fr * (bottom - top)

        The result is scale (c,) * value + offset (c,), and 0 inside the picture's rectangle of erase (n, 4)
        int32: top, left, height, width in output pixels. The rectangle lies inside the picture; one of height or
        width 0 erases nothing.

        Where the matrix is whole numbers (identity, mirror, whole-pixel shifts), positions and values are exact.
        Elsewhere a backend may fuse a multiplication with an addition, and the position moves by a rounding; since
        the value is continuous in the position, backends agree within a tolerance.
        """
