"""Tails of blocks, stage by stage. A backend overrides the stages that it computes in one memory pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnn.backends.blocks import Activation, Array, Dropout, DropPath, Join, Normalize, Pool, PReLU, Stage
from cnn.backends.reference.convolution import Convolution
from cnn.backends.reference.dropout import Dropout as DropoutOperation
from cnn.backends.reference.joins import Joins
from cnn.backends.reference.pooling import Pooling


class Tail(Convolution, Pooling, Joins, DropoutOperation):
    """`tail` and its gradient, composed of single operations."""

    def tail(self, x: Array, stages: Sequence[Stage], keep: bool = True) -> tuple[Array, Any]:
        """y of all stages in order, and the values that `tail_backward` needs; None instead of these unless `keep`."""
        saved: list[Any] = []
        for stage in stages:
            x, kept = self._stage(x, stage)
            saved.append(kept)
        return x, saved if keep else None

    def tail_backward(
        self, dy: Array, stages: Sequence[Stage], saved: Any, before: tuple[Activation, Array] | None = None
    ) -> tuple[Array, list[Array]]:
        """The gradient of the tail's input, and of each join's `other`, in the order of the stages.

        `before` is the activation in the producer's epilogue, with its output, which is the tail's input; then dx is
        the gradient of that activation's input. Gradients of parameters are written to the arrays in the stages. The
        `other` of a sum is not read and may be None. Raises ValueError for an activation in `before` whose gradient
        needs its input, which is not saved.
        """
        if before is not None and before[0].needs != "output":
            raise ValueError(f"the gradient of {before[0].name} needs its input: it cannot be in an epilogue")
        others: list[Array] = []
        for stage, kept in zip(reversed(stages), reversed(saved), strict=True):
            dy, other = self._stage_backward(dy, stage, kept)
            if other is not None:
                others.insert(0, other)
        if before is not None:
            activation, output = before
            dy = self.activation_backward(dy, output, activation)
        return dy, others

    def _move_running(self, stage: Normalize) -> None:
        """In place: update the stage's running moments, if it has any, with its moments."""
        if stage.running is not None:
            running, momentum = stage.running
            self.running_average(running, stage.moments, momentum)

    def _stage(self, x: Array, stage: Stage) -> tuple[Array, Any]:
        """The stage's output, and the values that its gradient needs."""
        match stage:
            case Normalize():
                self._move_running(stage)
                return self.normalize(x, stage.gamma, stage.beta, stage.moments, stage.eps), x
            case Activation():
                y = self.activation(x, stage)
                return y, y if stage.needs == "output" else x
            case PReLU():
                return self.prelu(x, stage.slope), x
            case Join(kind="add"):
                return self.add(x, stage.other), None
            case Join():
                return self.multiply(x, stage.other), x
            case Pool(kind="max"):
                return self.max_pool2d(x, stage.window)
            case Pool():
                return self.avg_pool2d(x, stage.window, stage.count_padding), None
            case Dropout():
                return self.dropout(x, stage.rate, stage.key), None
            case DropPath():
                return self.drop_path(x, stage.rate, stage.key), None

    def _stage_backward(self, dy: Array, stage: Stage, kept: Any) -> tuple[Array, Array | None]:
        """The gradient of the stage's input, and of a join's other input."""
        match stage:
            case Normalize():
                normalize = (stage.gamma, stage.moments, stage.eps, stage.batch)
                return self.normalize_backward(dy, kept, *normalize, out=stage.gradients)[0], None
            case Activation():
                return self.activation_backward(dy, kept, stage), None
            case PReLU():
                return self.prelu_backward(dy, kept, stage.slope, out=stage.gradient)[0], None
            case Join(kind="add"):
                return dy, dy
            case Join():
                return self.multiply_backward(dy, kept, stage.other)
            case Pool(kind="max"):
                return self.max_pool2d_backward(dy, kept, stage.window), None
            case Pool():
                return self.avg_pool2d_backward(dy, stage.window, stage.count_padding), None
            case Dropout():
                return self.dropout(dy, stage.rate, stage.key), None
            case DropPath():
                return self.drop_path(dy, stage.rate, stage.key), None
