"""Operations that are a sequence of others, for backends that have nothing better."""

from __future__ import annotations

from cnn.backends.ops import Array, Ops
from cnn.backends.window import Window


class ComposedOps(Ops):
    """Batch norm and max pooling, one after the other."""

    def batch_norm_max_pool2d(
        self, x: Array, gamma: Array, beta: Array, eps: float, window: Window, relu: bool = False
    ) -> tuple[Array, Array, Array, Array]:
        """Both; the normalised image is given up."""
        normalised, mean, variance = self.batch_norm(x, gamma, beta, eps, relu)
        y, winner = self.max_pool2d(normalised, window)
        return y, winner, mean, variance

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
        """Both."""
        return self.max_pool2d(self.batch_norm_inference(x, gamma, beta, mean, variance, eps, relu), window)[0]

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
        """Back through both. Where the winner of a window is positive, the pooled y is: it stands in for the image."""
        if relu:
            dy = self.relu_backward(dy, y)
        spread = self.max_pool2d_backward(dy, winner, window)
        return self.batch_norm_backward(spread, x, gamma, mean, variance, eps, None, relu_before)
