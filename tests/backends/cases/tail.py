"""Tails of blocks: lists of stages, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from backends import oracles
from backends.cases.call import Call, Filled, given, poison
from backends.cases.elementwise import ACTIVATIONS, named
from backends.cases.pooling import POOLS, PoolCase
from cnn.backends import Activation, Dropout, DropPath, Join, Normalize, Pool, PReLU, RandomKey, Stage, Window

_EPS = 1e-3
_MARGIN = 1e-3  # that a small case keeps from every kink and between the largest two of a window
_SMALL = 1500  # elements


class Made(NamedTuple):
    """A tail with its arrays. `u` is what the producer's activation got, x itself where it has none."""

    u: np.ndarray
    x: np.ndarray
    stages: list[Stage]  # gradients marked as filled
    dy: np.ndarray


@dataclass(frozen=True)
class Window2d:
    """A pooling whose window takes the size of what it gets."""

    kind: str = "max"
    kernel: Any = 2
    stride: Any = 2
    padding: Any = "valid"
    ceil: bool = False
    count_padding: bool = False
    dilation: Any = 1

    @classmethod
    def of(cls, case: PoolCase, kind: str = "max") -> Window2d:
        return cls(kind, case.kernel, case.stride, case.padding, case.ceil, False, case.dilation)


@dataclass(frozen=True)
class TailCase:
    name: str
    shape: tuple[int, ...]
    specs: tuple[Any, ...]
    before: Activation | None = None

    @property
    def small(self) -> bool:
        return int(np.prod(self.shape)) <= _SMALL

    def make(self, rng: np.random.Generator) -> Made:
        """The arrays, drawn anew until none is near a kink, if the case is small."""
        while True:
            u = _float32(rng.normal(size=self.shape))
            x = u if self.before is None else _float32(_function(self.before)(u))
            margin = np.inf if self.before is None else _kink_distance(self.before, u)
            stages, value = [], x
            for number, spec in enumerate(self.specs):
                stage = _stage(spec, value, rng, number)
                margin = min(margin, _kink_distance(stage, value))
                stages.append(stage)
                value = oracles.tail(value, [_plain(stage)])[0]
            if margin > _MARGIN or not self.small:
                return Made(u, x, stages, rng.normal(size=value.shape))

    def forward(self, rng):
        made = self.make(rng)
        return given(made.x, [_without_gradients(stage) for stage in made.stages])

    def backward(self, rng):
        made = self.make(rng)
        return given(made.dy, made.x, made.stages, self.before)


def run_tail(ops, x, stages, keep=True):
    """The tail's output."""
    return ops.tail(x, stages, keep)[0]


def run_tail_backward(ops, dy, x, stages, before):
    """Both passes, since the second takes what the first one saved: dx, and the gradient of each join's other."""
    _, saved = ops.tail(x, stages)
    return ops.tail_backward(dy, stages, saved, before and (before, x))


def _stage(spec: Any, value: np.ndarray, rng: np.random.Generator, number: int) -> Stage:
    """The stage that `spec` says, for `value` as its input."""
    c = value.shape[-1]
    match spec:
        case Activation():
            stage = spec
        case "norm" | "norm_of_other_batches":
            stage = _normalize(value, rng, batch=spec == "norm")
        case "norm_in_training":
            stage = _normalize(value, rng, batch=True)
            stage = replace(stage, running=(Filled(rng.uniform(0.2, 3, stage.moments.shape)), 0.9))
        case "prelu":
            stage = PReLU(rng.uniform(-0.5, 1.5, c), poison(c))
        case "add" | "multiply":
            stage = Join(spec, _float32(rng.normal(size=value.shape)))
        case "gate":
            stage = Join("multiply", _float32(rng.uniform(0.2, 1, (len(value), c))))
        case "dropout":
            stage = Dropout(0.3, RandomKey(7, 3 + number, np.array([12])))
        case "drop_path":
            stage = DropPath(0.5, RandomKey(9, 3 + number, np.array([12])))
        case Window2d():
            hw = value.shape[1:3]
            window = Window.over(hw, spec.kernel, spec.stride, spec.padding, spec.dilation, spec.ceil)
            stage = Pool(spec.kind, window, spec.count_padding)
        case _:
            raise AssertionError(spec)
    return stage


def _normalize(value: np.ndarray, rng: np.random.Generator, batch: bool) -> Normalize:
    c, axes = value.shape[-1], tuple(range(value.ndim - 1))
    if batch:
        moments = np.stack([value.mean(axis=axes), value.var(axis=axes)])
    else:
        moments = np.stack([rng.normal(size=c), rng.uniform(0.2, 3, c)])
    gamma = rng.uniform(0.4, 2, c) * rng.choice([-1.0, 1.0], c)
    return Normalize(gamma, rng.normal(size=c), moments, _EPS, batch, (poison(c), poison(c)))


def _float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).astype(float)


def _plain(stage: Stage) -> Stage:
    """Without markers, and with float32's numbers."""
    if isinstance(stage, Normalize):
        gamma, beta, moments = map(_float32, (stage.gamma, stage.beta, stage.moments))
        return Normalize(gamma, beta, moments, stage.eps, stage.batch)
    return PReLU(_float32(stage.slope)) if isinstance(stage, PReLU) else stage


def _without_gradients(stage: Stage) -> Stage:
    if isinstance(stage, Normalize):
        return replace(stage, gradients=None)
    return replace(stage, gradient=None) if isinstance(stage, PReLU) else stage


def _function(activation: Activation):
    return lambda x: oracles.FUNCTIONS[activation.name](x, activation.a, activation.b)


def _kink_distance(stage: Any, value: np.ndarray) -> float:
    """How far the stage's input is from where its derivative jumps."""
    if isinstance(stage, PReLU):
        return float(np.abs(value).min())
    if isinstance(stage, Activation):
        kinks = {"clip": [stage.a, stage.b], "hard_swish": [-3, 3], "relu": [0], "leaky_relu": [0], "elu": [0]}
        kinks["selu"] = [0]
        return min((float(np.abs(value - kink).min()) for kink in kinks.get(stage.name, [])), default=np.inf)
    if isinstance(stage, Pool) and stage.kind == "max":
        return oracles.smallest_gap(value, stage.window)
    return np.inf


_RELU, _CLIP, _GELU, _SIGMOID = (
    Activation("relu"),
    Activation("clip", 0.0, 6.0),
    Activation("gelu"),
    Activation("sigmoid"),
)
_TANH, _LEAKY = Activation("tanh"), Activation("leaky_relu", 0.1)
_POOL, _OVERLAP = Window2d(), Window2d(kernel=3, padding="same")
_AVERAGE = Window2d("average", kernel=3, padding=1, ceil=True, count_padding=True)

# The stages of a tail, and the activations that its producer may have applied.
_LISTS: dict[str, tuple[tuple[Any, ...], tuple[Activation | None, ...]]] = {
    "nothing": ((), (None, _RELU, _SIGMOID)),
    "norm": (("norm",), (None, _RELU, _CLIP)),
    "norm_relu": (("norm", _RELU), (None, _RELU)),
    "norm_clip": (("norm", _CLIP), (None,)),
    "norm_gelu": (("norm", _GELU), (None, _TANH)),
    "norm_pool": (("norm", _POOL), (None, _RELU)),
    "norm_relu_pool": (("norm", _RELU, _POOL), (None, _RELU, _SIGMOID)),
    "norm_relu_overlapping_pool": (("norm", _RELU, _OVERLAP), (None, _RELU)),
    "norm_leaky_pool": (("norm", _LEAKY, _POOL), (None,)),
    "norm_pool_dropout": (("norm", _POOL, "dropout"), (_RELU,)),
    "norm_relu_pool_dropout": (("norm", _RELU, _POOL, "dropout"), (None,)),
    "norm_dropout": (("norm", "dropout"), (_RELU,)),
    "norm_dropout_pool": (("norm", "dropout", _OVERLAP), (None,)),
    "norm_relu_average": (("norm", _RELU, _AVERAGE), (None,)),
    "norm_add": (("norm", "add"), (None,)),
    "norm_add_relu": (("norm", "add", _RELU), (None, _RELU)),
    "norm_add_relu_pool": (("norm", "add", _RELU, _POOL), (None,)),
    "norm_relu_add": (("norm", _RELU, "add"), (None,)),
    "norm_relu_pool_add": (("norm", _RELU, _POOL, "add"), (None,)),
    "norm_gate_add_relu": (("norm", "gate", "add", _RELU), (None,)),
    "norm_multiply_relu": (("norm", "multiply", _RELU), (None,)),
    "norm_prelu_pool": (("norm", "prelu", _POOL), (None, _RELU)),
    "prelu": (("prelu",), (None,)),
    "prelu_dropout": (("prelu", "dropout"), (None,)),
    "other_norm": (("norm_of_other_batches",), (None, _RELU)),
    "other_norm_relu_pool": (("norm_of_other_batches", _RELU, _POOL), (None,)),
    "relu_other_norm_add": ((_RELU, "norm_of_other_batches", "add"), (None,)),
    "relu_pool": ((_RELU, _POOL), (None,)),
    "relu_dropout": ((_RELU, "dropout"), (None,)),
    "pool": ((_POOL,), (_RELU,)),
    "average": ((_AVERAGE,), (_CLIP,)),
    "dropout": (("dropout",), (_RELU,)),
    "drop_path": (("drop_path",), (_RELU,)),
    "norm_drop_path_add_relu": (("norm", "drop_path", "add", _RELU), (None,)),
    "gate_drop_path_add": (("gate", "drop_path", "add"), (None,)),
    "add": (("add",), (None, _RELU)),
    "add_relu": (("add", _RELU), (None,)),
    "gate": (("gate",), (None, _RELU)),
    "gate_relu_gate": (("gate", _RELU, "gate"), (None,)),
    "multiply_pool": (("multiply", _POOL), (None,)),
    "two_pools": ((_POOL, _RELU, Window2d("average", 2, 1)), (None,)),
}
_SHAPES = {"odd": (2, 9, 7, 5), "fours": (3, 8, 6, 4)}
_LARGE = {"many_chunks": (19, 25, 24, 8), "thirty_three_channels": (5, 13, 14, 33)}
_LARGE_LISTS = (
    "norm",
    "norm_relu_pool",
    "norm_pool_dropout",
    "norm_add_relu",
    "norm_relu_overlapping_pool",
    "gate",
    "prelu",
)
_VECTORS = ("norm", "norm_relu", "norm_add_relu", "norm_dropout", "prelu", "dropout", "relu_dropout")


def _cases() -> Iterator[TailCase]:
    for name, (specs, befores) in _LISTS.items():
        shapes = _SHAPES | (_LARGE if name in _LARGE_LISTS else {}) | ({"vector": (6, 17)} if name in _VECTORS else {})
        for where, shape in shapes.items():
            for before in befores:
                behind = f"_behind_{before.name}" if before else ""
                yield TailCase(f"{name}{behind}_{where}", shape, specs, before)
    for number, case in enumerate(POOLS):
        before = (None, _RELU)[number % 2]
        yield TailCase(f"norm_relu_{case.name}", case.shape, ("norm", _RELU, Window2d.of(case)), before)
        if case.window.has_padding:
            yield TailCase(f"norm_{case.name}", case.shape, ("norm", Window2d.of(case)), before)
    for activation in ACTIVATIONS:
        yield TailCase(f"norm_{named(activation)}_add", (2, 5, 4, 3), ("norm", activation, "add"))


TAILS = list(_cases())

# In training the forward pass updates the running moments.
_IN_TRAINING = [
    TailCase(f"norm_in_training_{name}_{where}", shape, specs)
    for name, specs in {
        "alone": ("norm_in_training",),
        "relu": ("norm_in_training", _RELU),
        "pool_add": ("norm_in_training", _POOL, "add"),
        "second": (_RELU, "norm_in_training"),
    }.items()
    for where, shape in _SHAPES.items()
]


def tail_calls() -> Iterator[Call]:
    for number, c in enumerate(TAILS):
        if c.before is None or "norm" not in c.name:  # the forward pass does not ask what was before
            yield Call("tail", c.name, c.forward, invoke=run_tail, may_share=True)
        if number % 5 == 0:
            yield Call("tail", f"{c.name}_keeps_nothing", _kept_nothing(c), invoke=run_tail, may_share=True)
        yield Call("tail_backward", c.name, c.backward, invoke=run_tail_backward, may_share=True)
    for c in _IN_TRAINING:
        yield Call("tail", c.name, c.forward, invoke=run_tail, may_share=True)


def _kept_nothing(case: TailCase):
    def build(rng):
        x, stages = case.forward(rng).args
        return given(x, stages, keep=False)

    return build
