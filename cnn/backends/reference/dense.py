"""Dense layers, and the epilogue of a product: bias, activation, statistics."""

from __future__ import annotations

from cnn.backends.blocks import Array, Epilogue
from cnn.backends.reference.activations import Activations
from cnn.backends.reference.arrays import FloatArray, column_sum, into, rows_of
from cnn.backends.reference.normalization import Normalization

_NOTHING = Epilogue()


class Dense(Activations, Normalization):
    """`dense`, its gradients, and the gradient of a bias."""

    def dense(self, x: Array, w: Array, b: Array | None, epilogue: Epilogue = _NOTHING) -> Array:
        """x (n, c) times w (c, k) plus b (k,): (n, k). The epilogue acts as in `conv2d`."""
        return self._finish(x @ w, b, epilogue)

    def dense_backward_input(self, dy: Array, w: Array) -> Array:
        """dy (n, k) to dx (n, c)."""
        return dy @ w.T

    def dense_backward_filter(self, dy: Array, x: Array, out: Array | None = None) -> Array:
        """dy (n, k) and the input x (n, c) to dw (c, k), in `out` if it is given."""
        return into(out, x.T @ dy)

    def bias_backward(self, dy: Array, out: Array | None = None) -> Array:
        """dy (..., k) summed over all but the last axis: db (k,), in `out` if it is given."""
        return into(out, column_sum(rows_of(dy)))

    def _finish(self, y: FloatArray, b: FloatArray | None, epilogue: Epilogue) -> FloatArray:
        if b is not None:
            y = y + b
        if epilogue.activation is not None:
            y = self.activation(y, epilogue.activation)
        if epilogue.moments is not None:
            self.moments(y, epilogue.moments)
        return y
