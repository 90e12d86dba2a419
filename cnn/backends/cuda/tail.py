"""Tails of blocks: a normalisation with the stages after it in one pass, other stages one by one."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends.blocks import Activation, Array, Dropout, Join, Normalize, Pool, Stage
from cnn.backends.cuda.arrays import named, rows_and_channels
from cnn.backends.cuda.convolution import CudaConvolution
from cnn.backends.cuda.dropout import CudaDropout, seed_words
from cnn.backends.cuda.joins import CudaJoins
from cnn.backends.cuda.normalization import chunk_parts
from cnn.backends.cuda.pooling import CudaPooling
from cnn.backends.reference.dropout import dropout_threshold
from cnn.backends.reference.tail import Tail
from cnn.backends.window import Window
from cnn.kernels import STRUCTS, fast_divmod

# Places of ReLU and dropout in a chain: before maximum and sum, or behind them. As in tail.cu.
_BEFORE, _BEHIND = 1, 2


@dataclass(frozen=True)
class _Chain:
    """A normalisation and the stages after it that a kernel computes in the same pass: `length` stages.

    ReLU, dropout, maximum of 2 x 2 pixels, sum, ReLU, dropout: in this order, any of them absent, dropout at most once.
    """

    norm: Normalize
    length: int = 1
    relu: int = 0  # sum of places
    pool: Window | None = None
    other: Join | None = None
    dropout: Dropout | None = None
    dropout_place: int = 0

    def followed_by(self, stage: Stage) -> _Chain | None:
        """The chain with one more stage, or None where the kernels cannot compute that."""
        changes: dict[str, Any] = {}
        match stage:
            case Activation(name="relu") if not self.relu and not self.dropout and not self.pool and not self.other:
                changes["relu"] = _BEFORE
            case Activation(name="relu") if self.other and self.relu <= _BEFORE and self.dropout_place < _BEHIND:
                changes["relu"] = self.relu + _BEHIND
            case Dropout() if not self.dropout:
                place = _BEHIND if self.pool or self.other else _BEFORE
                changes.update(dropout=stage, dropout_place=place)
            case Pool(kind="max") if _is_halved(stage.window) and not self.pool and not self.other:
                changes["pool"] = stage.window
            case Join(kind="add") if not self.other and self.dropout_place < _BEHIND:
                changes["other"] = stage
            case _:
                return None
        return replace(self, length=self.length + 1, **changes)

    @property
    def kernel(self) -> str:
        """The kernel of the forward pass; the names of the backward passes begin with this."""
        return "tail" + "_pool" * (self.pool is not None) + "_dropout" * (self.dropout is not None)

    def up_to_sum(self) -> _Chain:
        """The chain without its sum and what is behind that."""
        chain = replace(self, other=None, relu=self.relu & _BEFORE)
        return replace(chain, dropout=None, dropout_place=0) if self.dropout_place == _BEHIND else chain


def _is_halved(window: Window) -> bool:
    """Whether each pixel is in one of the windows of 2 x 2."""
    (h, w), (p, q) = window.input_hw, window.output_hw
    return window.side_by_side and window.kernel == (2, 2) and (h, w) == (2 * p, 2 * q)


class CudaTail(CudaConvolution, CudaPooling, CudaJoins, CudaDropout, Tail):
    """Kernels in `cnn/kernels/tail.cu`.

    Of a chain its input is saved for the gradient, which is computed from that and dy; and the output of a ReLU behind
    a sum. Of the other stages the same is saved as by `Tail`.
    """

    def tail(self, x: Array, stages: Sequence[Stage], keep: bool = True) -> tuple[Array, Any]:
        saved: list[Any] = []
        for part in _parts(stages):
            if isinstance(part, _Chain):
                y = self._chain(x, part)
                saved += [x, *[None] * (part.length - 1)]
                if part.relu & _BEHIND:
                    saved[-1] = y
                x = y
            else:
                x, kept = self._stage(x, part)
                saved.append(kept)
        return x, saved if keep else None

    def tail_backward(
        self, dy: Array, stages: Sequence[Stage], saved: Any, before: tuple[Activation, Array] | None = None
    ) -> tuple[Array, list[Array]]:
        if before is not None and before[0].needs != "output":
            raise ValueError(f"the gradient of {before[0].name} needs its input: it cannot be in an epilogue")
        others: list[Array] = []
        end = len(stages)
        for part in reversed(_parts(stages)):
            if isinstance(part, _Chain):
                begin = end - part.length
                if part.other:
                    dy = self._behind_sum_backward(dy, part, saved[end - 1])
                    others.insert(0, dy)
                input_relu = begin == 0 and before is not None and before[0].name == "relu"
                if input_relu:
                    before = None
                dy = self._chain_backward(dy, saved[begin], part, input_relu)
            else:
                begin = end - 1
                dy, other = self._stage_backward(dy, part, saved[begin])
                if other is not None:
                    others.insert(0, other)
            end = begin
        if before is not None:
            activation, output = before
            dy = self.activation_backward(dy, output, activation)
        return dy, others

    def _chain(self, x: Array, chain: _Chain) -> Array:
        """y of all stages."""
        norm = chain.norm
        y = self.empty((x.shape[0], *chain.pool.output_hw, x.shape[3]) if chain.pool else x.shape, x.dtype)
        other = None if chain.other is None else chain.other.other
        running, momentum = norm.running or (None, 0.0)
        arrays = x, other, norm.gamma, norm.beta, norm.moments, running, _clock(chain), y
        numbers = *rows_and_channels(y), norm.eps, momentum, 1 - momentum
        self.launch(named(chain.kernel, x), *arrays, *numbers, _stages(chain))
        return y

    def _behind_sum_backward(self, dy: Array, chain: _Chain, y: Array | None) -> Array:
        """The gradient of the chain's sum, whose summands take it as it is. y is the output of a ReLU behind it."""
        if chain.dropout is not None and chain.dropout_place == _BEHIND:
            dy = self.dropout(dy, chain.dropout.rate, chain.dropout.key)
        return self.activation_backward(dy, y, Activation("relu")) if chain.relu & _BEHIND else dy

    def _chain_backward(self, dy: Array, x: Array, chain: _Chain, input_relu: bool) -> Array:
        """dx, for dy of the stages up to a sum, or of all; dgamma and dbeta go to the norm's arrays.

        With `input_relu` x is the output of a ReLU, and dx the gradient of that ReLU's input.
        """
        if chain.other:
            chain = chain.up_to_sum()
        norm, (rows, c) = chain.norm, rows_and_channels(dy)
        clock, stages, numbers = _clock(chain), _stages(chain), (norm.gamma, norm.beta, norm.moments)
        dgamma, dbeta = norm.gradients or (self.floats(c), self.floats(c))
        self.launch(
            named(f"{chain.kernel}_backward_sums", x),
            *(dy, x, *numbers, clock, dgamma, dbeta, *chunk_parts(self, rows, c, 2), rows, c, norm.eps, stages),
        )
        if norm.batch:
            self.share_sums(dgamma, dbeta)
        dx = self.empty(x.shape, x.dtype)
        self.launch(
            named(f"{chain.kernel}_backward_input", x),
            *(dy, x, *numbers, dgamma, dbeta, clock, dx, rows, c, norm.eps),
            *(int(norm.batch), int(input_relu), stages),
        )
        return dx


def _parts(stages: Sequence[Stage]) -> list[_Chain | Stage]:
    """The stages in order, those of chains together."""
    parts: list[_Chain | Stage] = []
    for stage in stages:
        last = parts[-1] if parts else None
        if isinstance(last, _Chain) and (longer := last.followed_by(stage)):
            parts[-1] = longer
        else:
            parts.append(_Chain(stage) if isinstance(stage, Normalize) else stage)
    return parts


def _clock(chain: _Chain) -> Array | None:
    """The array with the step of dropout's random key."""
    return None if chain.dropout is None else chain.dropout.key.step


def _stages(chain: _Chain) -> NDArray[Any]:
    """The struct argument of the kernels."""
    columns = chain.pool.output_hw[1] if chain.pool else 1
    if chain.dropout is None:
        return _stages_struct(columns, chain.relu)
    rate, key = chain.dropout.rate, chain.dropout.key
    return _stages_struct(columns, chain.relu, chain.dropout_place, rate, key.seed, key.stream)


@functools.lru_cache(maxsize=1024)
def _stages_struct(
    columns: int, relu: int, dropout: int = 0, rate: float = 0.0, seed: int = 0, stream: int = 0
) -> NDArray[Any]:
    threshold, scale = dropout_threshold(rate)
    return np.array(
        [(fast_divmod(columns), relu, dropout, threshold, *seed_words(seed), stream, scale)], STRUCTS["TailStages"]
    )
