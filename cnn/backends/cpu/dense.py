"""Dense layers and the epilogues of products, on all cores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnn.backends.blocks import Epilogue
from cnn.backends.cpu import conv_primitives as primitives
from cnn.backends.cpu import product_kernels
from cnn.backends.cpu.arrays import FloatArray
from cnn.backends.cpu.normalization import CpuNormalization
from cnn.backends.reference.arrays import rows_of

_SMALL_PRODUCT = 1 << 19  # multiply-accumulates that take less time than waking another thread
_NOTHING = Epilogue()


class CpuDense(CpuNormalization):
    """`dense`, its gradients, and the gradient of a bias."""

    def dense(self, x: FloatArray, w: FloatArray, b: FloatArray | None, epilogue: Epilogue = _NOTHING) -> FloatArray:
        y = self.memory.empty((len(x), w.shape[1]), x.dtype)
        self._product(x, w, y)
        primitives.finish(y, b, ends_in_relu(epilogue))
        return self.after(y, epilogue)

    def dense_backward_input(self, dy: FloatArray, w: FloatArray) -> FloatArray:
        dx = self.memory.empty((len(dy), len(w)), dy.dtype)
        self._product(dy, w, dx, transposed=True)
        return dx

    def dense_backward_filter(self, dy: FloatArray, x: FloatArray, out: FloatArray | None = None) -> FloatArray:
        dw = self.memory.empty((x.shape[1], dy.shape[1]), x.dtype) if out is None else out
        if len(x) == 1:
            self._in_chunks(lambda some: product_kernels.outer(x[0], dy[0], dw, some.start, some.stop), *dw.shape)
            return dw
        left = primitives.matrix_rows(x)
        self._in_chunks(
            lambda some: primitives.transposed_products(left, dy, dw, more=False, columns=some), dy.shape[1], x.size
        )
        return dw

    def bias_backward(self, dy: FloatArray, out: FloatArray | None = None) -> FloatArray:
        rows = rows_of(dy)
        db = self.memory.empty((rows.shape[1],), dy.dtype) if out is None else out

        def add_up() -> None:
            work = self.channel_chunks(*rows.shape)
            sums = self.workers.map(lambda chunk: primitives.bias_gradient(rows[chunk]), work, dy.nbytes)
            np.add.reduce(sums, out=db)

        self.beside_or_now(add_up)
        return db

    def after(self, y: FloatArray, epilogue: Epilogue) -> FloatArray:
        """The rest of the epilogue; the product has applied bias and ReLU."""
        activation = None if ends_in_relu(epilogue) else epilogue.activation
        if activation is None and epilogue.moments is None:
            return y
        return self._finish(y, None, Epilogue(activation, epilogue.moments))

    def _product(self, x: FloatArray, w: FloatArray, y: FloatArray, transposed: bool = False) -> None:
        """y (m, n) = x (m, k) @ w, or w transposed."""
        if len(x) == 1:
            kernel = product_kernels.vector_times_transposed if transposed else product_kernels.vector_times
            self._in_chunks(lambda some: kernel(x[0], w, y[0], some.start, some.stop), y.shape[1], x.size)
            return
        left, weights = primitives.matrix_rows(x), primitives.matrix_weights(w, transposed)
        self._in_chunks(lambda some: primitives.products(left, weights, y, some), y.shape[1], x.size)

    def _in_chunks(self, run: Callable[[slice], None], columns: int, terms: int) -> None:
        """Run it for all columns of a product with `terms` terms per column, on all cores if the product is large."""
        small = terms * columns < _SMALL_PRODUCT
        work = [slice(0, columns)] if small else self.workers.shares(columns, primitives.block_columns(4))
        self.workers.map(run, work)


def ends_in_relu(epilogue: Epilogue) -> bool:
    """Whether the activation of the epilogue is a ReLU, which a product applies when it writes its result."""
    return epilogue.activation is not None and epilogue.activation.name == "relu"
