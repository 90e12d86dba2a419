"""Matrix products of dense layers, and the epilogue of a product: bias, activation, statistics."""

from __future__ import annotations

from collections.abc import Callable

from cnn.backends.blocks import Array, Epilogue
from cnn.backends.cuda.activations import CudaActivations
from cnn.backends.cuda.arrays import rows_and_channels
from cnn.backends.cuda.normalization import column_sums

NOTHING = Epilogue()


class CudaDense(CudaActivations):
    """Kernels in `cnn/kernels/dense.cu`; with `cublas` the products are CuPy's `matmul`.

    A ReLU is applied when the product writes its result, any other activation in a separate pass.
    """

    def dense(self, x: Array, w: Array, b: Array | None, epilogue: Epilogue = NOTHING) -> Array:
        (rows, k), columns = x.shape, w.shape[1]
        if self.cublas:
            y = self.floats(rows, columns)
            self.add_parts(self.xp.matmul(x, w), y, 1, b, ends_in_relu(epilogue))
        else:
            y = self.product(
                "dense_forward",
                (rows, k, columns),
                1,
                k % 4 == 0 and columns % 4 == 0 and self.aligned(x, w),
                self.floats(rows, columns),
                lambda name, y, splits, bias, fused: self.launch(name, x, w, bias, y, rows, k, columns, splits, fused),
                b,
                ends_in_relu(epilogue),
            )
        return self.finish(y, epilogue)

    def dense_backward_input(self, dy: Array, w: Array) -> Array:
        (rows, k), columns = dy.shape, w.shape[0]
        if self.cublas:
            return self.xp.matmul(dy, w.T)
        return self.product(
            "dense_backward_input",
            (rows, k, columns),
            1,
            k % 4 == 0 and columns % 4 == 0 and self.aligned(dy, w),
            self.floats(rows, columns),
            lambda name, dx, splits, *_: self.launch(name, dy, w, dx, rows, k, columns, splits),
        )

    def dense_backward_filter(self, dy: Array, x: Array, out: Array | None = None) -> Array:
        (k, columns), rows = dy.shape, x.shape[1]
        dw = self.floats(rows, columns) if out is None else out
        if self.cublas:
            return self.xp.matmul(x.T, dy, out=dw)
        return self.product(
            "dense_backward_filter",
            (rows, k, columns),
            1,
            rows % 4 == 0 and columns % 4 == 0 and self.aligned(x, dy, dw),
            dw,
            lambda name, dw, splits, *_: self.launch(name, x, dy, dw, rows, k, columns, splits),
        )

    def bias_backward(self, dy: Array, out: Array | None = None) -> Array:
        return column_sums(self, dy, *rows_and_channels(dy), out)

    def finish(self, y: Array, epilogue: Epilogue) -> Array:
        """The rest of the epilogue, after a product that has added its bias and applied its ReLU."""
        if epilogue.activation is not None and not ends_in_relu(epilogue):
            y = self.activation(y, epilogue.activation)
        if epilogue.moments is not None:
            self.moments(y, epilogue.moments)
        return y

    def product(
        self,
        function: str,
        size: tuple[int, int, int],
        batches: int,
        vector: bool,
        y: Array,
        run: Callable[[str, Array, int, Array | None, int], None],
        bias: Array | None = None,
        relu: bool = False,
    ) -> Array:
        """`batches` products of `size` = rows, k, columns, written to y, which is returned.

        `run` launches a kernel, given its name, the output array, the number of splits, the bias and whether a ReLU
        follows. The parts of a split product are added up afterwards, with bias and ReLU.
        """
        rows, k, columns = size
        variant, splits = self.plan(rows, columns, k, batches, vector)
        name = f"{function}_{variant.suffix}"
        if splits == 1:
            run(name, y, 1, bias, int(relu))
        else:
            parts = self.floats(splits, *y.shape)
            run(name, parts, splits, None, 0)
            self.add_parts(parts, y, splits, bias, relu)
        return y

    def add_parts(self, parts: Array, y: Array, splits: int, bias: Array | None = None, relu: bool = False) -> None:
        """y = the sum of parts (splits, *y.shape) in order, plus bias by the last axis, then ReLU if `relu`."""
        self.launch("sum_splits", parts, bias, y, y.size, splits, y.shape[-1], int(relu))


def ends_in_relu(epilogue: Epilogue) -> bool:
    """Whether the product can apply the epilogue's activation."""
    return epilogue.activation is not None and epilogue.activation.name == "relu"
