"""Parameter updates over flat arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backends.cases.call import Call, Exactly, Filled, given


@dataclass(frozen=True)
class UpdateCase:
    name: str
    op: str
    size: int
    options: dict[str, Any] = field(default_factory=dict)

    def arguments(self, rng):
        p, g, v = (rng.normal(size=self.size) for _ in range(3))
        moments = [v] if self.op == "sgd_update" else [v, rng.uniform(0.1, 2, size=self.size)]
        return given(Filled(p), g, *map(Filled, moments), **self.options)


def rate(value: float) -> Exactly:
    return Exactly(np.array([value], np.float32))


def clock(step: int) -> np.ndarray:
    return np.array([step, 3, 192])


_SGD = {"learning_rate": rate(0.1), "momentum": rate(0.9), "nesterov": False, "weight_decay": 0.0, "decoupled": False}
_ADAM = {
    "learning_rate": rate(0.01),
    "clock": clock(5),
    "beta1": rate(0.9),
    "beta2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.0,
    "decoupled": False,
}
UPDATES = [
    UpdateCase("plain", "sgd_update", 97, _SGD | {"momentum": rate(0.0)}),
    UpdateCase("momentum", "sgd_update", 97, _SGD),
    UpdateCase("nesterov", "sgd_update", 97, _SGD | {"nesterov": True}),
    UpdateCase("l2_decay", "sgd_update", 5, _SGD | {"weight_decay": 0.1}),
    UpdateCase("nesterov_l2_decay", "sgd_update", 97, _SGD | {"nesterov": True, "weight_decay": 0.02}),
    UpdateCase("decoupled_decay", "sgd_update", 1, _SGD | {"weight_decay": 0.1, "decoupled": True}),
    UpdateCase("fours", "sgd_update", 64, _SGD | {"weight_decay": 0.1}),
    UpdateCase(
        "nesterov_decoupled_fours", "sgd_update", 8, _SGD | {"nesterov": True, "weight_decay": 0.1, "decoupled": True}
    ),
    UpdateCase("many_chunks", "sgd_update", 70_001, _SGD | {"nesterov": True, "weight_decay": 0.1}),
    UpdateCase("whole_chunks", "sgd_update", 8192, _SGD | {"weight_decay": 0.1}),
    UpdateCase("adam", "adam_update", 97, _ADAM),
    UpdateCase("adam_first_step", "adam_update", 97, _ADAM | {"clock": clock(1)}),
    UpdateCase("adam_late_step", "adam_update", 97, _ADAM | {"clock": clock(100_000)}),
    UpdateCase("adam_step_beyond_32_bits", "adam_update", 5, _ADAM | {"clock": clock(2**40 + 3)}),
    UpdateCase("adam_fours", "adam_update", 64, _ADAM | {"weight_decay": 0.1}),
    UpdateCase("adam_large_eps", "adam_update", 97, _ADAM | {"eps": 0.1}),
    UpdateCase("adam_l2_decay", "adam_update", 1, _ADAM | {"weight_decay": 0.1}),
    UpdateCase("adamw", "adam_update", 97, _ADAM | {"weight_decay": 0.02, "decoupled": True}),
    UpdateCase("adam_many_chunks", "adam_update", 70_001, _ADAM | {"weight_decay": 0.1, "decoupled": True}),
]

# How long the gradient is, and where its norm lies beside the limit.
_CLIPS = [("below", 97, 0.5, 2.0), ("above", 97, 4.0, 1.5), ("fours", 64, 4.0, 1.0), ("one_number", 1, 4.0, 1.0)]
_CLIPS += [("many_chunks", 70_001, 9.0, 0.25), ("tiny", 97, 1e-25, 1e-26), ("huge", 97, 1e25, 1e20)]


_BLENDS = [("share", 97, 0.25), ("none", 97, 0.0), ("all", 97, 1.0), ("fours", 64, 1e-3), ("one_number", 1, 0.9)]
_BLENDS += [("many_chunks", 70_001, 0.3)]


def update_calls() -> Iterator[Call]:
    for c in UPDATES:
        yield Call(c.op, c.name, c.arguments)
    for name, size, norm, limit in _CLIPS:
        yield Call("clip_by_global_norm", name, lambda rng, s=size, n=norm, at=limit: _clip(rng, s, n, at))
    for name, size, share in _BLENDS:
        yield Call(
            "blend", name, lambda rng, s=size, at=share: given(Filled(rng.normal(size=s)), rng.normal(size=s), rate(at))
        )
    yield Call("clip_by_global_norm", "zero", lambda rng: given(Filled(np.zeros(33)), 1.0))


def _clip(rng, size: int, norm: float, limit: float):
    grads = rng.normal(size=size)
    return given(Filled(grads * (norm / np.linalg.norm(grads))), limit)
