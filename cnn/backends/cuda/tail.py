"""Tails of blocks: batch norm with a ReLU after or before it in one pass, other stages one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnn.backends.blocks import Activation, Array, Normalize, Stage
from cnn.backends.cuda.convolution import CudaConvolution
from cnn.backends.cuda.dropout import CudaDropout
from cnn.backends.cuda.joins import CudaJoins
from cnn.backends.cuda.pooling import CudaPooling
from cnn.backends.reference.tail import Tail


class CudaTail(CudaConvolution, CudaPooling, CudaJoins, CudaDropout, Tail):
    """The values saved for the gradient are those of `Tail`, stage by stage."""

    def tail(self, x: Array, stages: Sequence[Stage], keep: bool = True) -> tuple[Array, Any]:
        saved: list[Any] = []
        position = 0
        while position < len(stages):
            stage = stages[position]
            if isinstance(stage, Normalize) and _is_relu(stages, position + 1):
                y = self.normalize_and_relu(x, stage.gamma, stage.beta, stage.moments, stage.eps)
                kept = [x, y]
            else:
                y, one = self._stage(x, stage)
                kept = [one]
            x = y
            position += len(kept)
            if keep:
                saved += kept
        return x, saved if keep else None

    def tail_backward(
        self, dy: Array, stages: Sequence[Stage], saved: Any, before: tuple[Activation, Array] | None = None
    ) -> tuple[Array, list[Array]]:
        if before is not None and before[0].needs != "output":
            raise ValueError(f"the gradient of {before[0].name} needs its input: it cannot be in an epilogue")
        others: list[Array] = []
        position = len(stages) - 1
        while position >= 0:
            y = None
            if position > 0 and _is_relu(stages, position) and isinstance(stages[position - 1], Normalize):
                y = saved[position]
                position -= 1
            stage = stages[position]
            if isinstance(stage, Normalize):
                input_relu = position == 0 and before is not None and before[0].name == "relu"
                if input_relu:
                    before = None
                dy = self.normalize_and_relu_backward(
                    dy,
                    saved[position],
                    *(stage.gamma, stage.moments, stage.eps, stage.batch, stage.gradients),
                    y=y,
                    input_relu=input_relu,
                )[0]
            else:
                dy, other = self._stage_backward(dy, stage, saved[position])
                if other is not None:
                    others.insert(0, other)
            position -= 1
        if before is not None:
            activation, output = before
            dy = self.activation_backward(dy, output, activation)
        return dy, others


def _is_relu(stages: Sequence[Stage], position: int) -> bool:
    """Whether the stage at this position, if there is one, is a ReLU."""
    stage = stages[position] if position < len(stages) else None
    return isinstance(stage, Activation) and stage.name == "relu"
