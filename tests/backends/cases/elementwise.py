"""Arrays, activations, joins and dropout: whatever treats each element for itself, and dropout of whole examples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backends.cases.call import Call, Filled, given, poison
from backends.oracles.activations import FUNCTIONS
from cnn.backends import Activation, RandomKey

# The constants of Klambauer et al. 2017. Bounds are float32's own numbers, so that an output lies on them exactly.
ACTIVATIONS = [
    Activation("relu"),
    Activation("clip", 0.0, 6.0),
    Activation("clip", -0.75, 0.8125),
    Activation("sigmoid"),
    Activation("tanh"),
    Activation("leaky_relu", 0.01),
    Activation("leaky_relu", 0.3),
    Activation("elu", 1.0),
    Activation("elu", 0.7),
    Activation("selu", 1.6732632423543772, 1.0507009873554805),
    Activation("gelu"),
    Activation("silu"),
    Activation("mish"),
    Activation("softplus"),
    Activation("hard_swish"),
]


@dataclass(frozen=True)
class ElementCase:
    name: str
    shape: tuple[int, ...]
    least: int = -5

    def x(self, rng):
        """Odd multiples of 1/128 up to 7: no step of a finite difference passes a kink, which are rounder numbers."""
        return (2 * rng.integers(64 * self.least, 448, self.shape) + 1) / 128

    def dy(self, rng):
        return rng.normal(size=self.shape)


ELEMENTS = [
    ElementCase("image", (3, 5, 7, 4)),
    ElementCase("one_number", (1, 1), -1),  # it is its own scale, and GELU has few digits far below zero
    ElementCase("vector", (6, 33)),
    ElementCase("many_chunks", (19, 33, 31, 8)),
]
_LARGE = ("relu", "tanh", "gelu")  # the activations that run over many chunks: one of each kind of gradient


def named(activation: Activation) -> str:
    numbers = [str(number) for number in (activation.a, activation.b) if number]
    return "_".join([activation.name, *numbers])


def saved(activation: Activation, x: np.ndarray) -> np.ndarray:
    """What the gradient at x is computed from."""
    x = x.astype(np.float32).astype(float)
    return FUNCTIONS[activation.name](x, activation.a, activation.b) if activation.needs == "output" else x


def element_calls() -> Iterator[Call]:
    yield Call("array", "integers", lambda rng: given(rng.integers(0, 256, (5, 3), dtype=np.uint8)), on_host=True)
    yield Call("array", "columns_first", lambda rng: given(rng.normal(size=(5, 3, 2)).T), on_host=True)
    yield Call("copy_in", "other_type", lambda rng: given(poison(4, 3), rng.integers(9, size=(4, 3))), invoke=_copy_in)
    for c in ELEMENTS:
        yield Call("array", c.name, lambda rng, c=c: given(c.x(rng)), on_host=True)
        yield Call("constant", c.name, lambda rng, c=c: given(c.x(rng)), on_host=True)
        yield Call("to_numpy", c.name, lambda rng, c=c: given(c.x(rng)), may_share=True)
        yield Call("copy_in", c.name, lambda rng, c=c: given(poison(*c.shape), c.x(rng)), invoke=_copy_in)
        yield Call("zeros", c.name, lambda rng, c=c: given(c.shape, "float32"))
        yield Call("stored", f"{c.name}_float32", lambda rng, c=c: given(c.dy(rng), "float32"), may_share=True)
        for activation in ACTIVATIONS:
            if c.name == "many_chunks" and activation.name not in _LARGE:
                continue
            case = f"{c.name}_{named(activation)}"
            yield Call("activation", case, lambda rng, c=c, a=activation: given(c.x(rng), a))
            yield Call(
                "activation_backward", case, lambda rng, c=c, a=activation: given(c.dy(rng), saved(a, c.x(rng)), a)
            )
        for slope in ({}, {"out": poison(c.shape[-1])}):
            case = c.name + ("_out" if slope else "")
            yield Call(
                "prelu_backward", case, lambda rng, c=c, s=slope: given(c.dy(rng), c.x(rng), _slope(c, rng), **s)
            )
        yield Call("prelu", c.name, lambda rng, c=c: given(c.x(rng), _slope(c, rng)))
        yield Call("l2_penalty", c.name, lambda rng, c=c: given(c.x(rng), 0.013))
        yield Call("l2_penalty_backward", c.name, lambda rng, c=c: given(c.x(rng), 0.013, Filled(c.dy(rng))))
    yield from _stored_calls()
    yield from _join_calls()
    yield from _dropout_calls()


def _copy_in(ops, target, values):
    """The values come from the host."""
    ops.copy_in(target, np.array(ops.to_numpy(values)))


def _slope(c: ElementCase, rng):
    return rng.uniform(-0.5, 1.5, c.shape[-1])


def _stored_calls() -> Iterator[Call]:
    edges = [0.0, -0.0, 1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8, 3.4e38, -3.4e38, 1e-40, 2**-133]
    for name, values in (("", None), ("_edges", [*edges, math.inf, -math.inf])):

        def build(rng, values=values):
            size = 10.0 ** rng.integers(-30, 30, (3, 5, 7))
            return given(size * rng.normal(size=(3, 5, 7)) if values is None else np.array(values), "bfloat16")

        yield Call("stored", f"bfloat16{name}", build, any_type=True)


def _join_calls() -> Iterator[Call]:
    for c in ELEMENTS:
        for op in ("add", "multiply"):
            yield Call(op, c.name, lambda rng, c=c: given(c.dy(rng), c.dy(rng)))
        yield Call("multiply_backward", c.name, lambda rng, c=c: given(*(c.dy(rng) for _ in range(3))))
        if len(c.shape) == 4:
            gate = (c.shape[0], c.shape[3])
            yield Call("multiply", f"{c.name}_gate", lambda rng, c=c, g=gate: given(c.dy(rng), rng.normal(size=g)))
            yield Call(
                "multiply_backward",
                f"{c.name}_gate",
                lambda rng, c=c, g=gate: given(c.dy(rng), c.dy(rng), rng.normal(size=g)),
            )
    for name, lead, sizes in CONCATS:
        yield Call("concat", name, lambda rng, m=lead, s=sizes: given([rng.normal(size=(*m, size)) for size in s]))
        yield Call("split", name, lambda rng, m=lead, s=sizes: given(rng.normal(size=(*m, sum(s))), list(s)))


# The axes in front of the channels, and the channels of each part.
CONCATS = [
    ("two", (3, 5, 4), (2, 3)),
    ("fours", (2, 3, 4), (4, 8)),
    ("many", (2, 3, 4), (1, 4, 7, 1)),
    ("one", (2, 3, 4), (5,)),
    ("vectors", (6,), (3, 1)),
    ("many_chunks", (19, 33, 31), (5, 3)),
]


@dataclass(frozen=True)
class DropoutCase:
    name: str
    shape: tuple[int, ...]
    rate: float
    key: tuple[int, int, int] = (7, 3, 12)

    @property
    def random_key(self) -> RandomKey:
        seed, stream, step = self.key
        return RandomKey(seed, stream, np.array([step, 77]))  # a clock has more elements than the step


DROPOUTS = [
    DropoutCase("image", (3, 5, 7, 4), 0.3),
    DropoutCase("eights", (4, 16), 0.4),
    DropoutCase("one_number", (1, 1), 0.5),
    DropoutCase("nothing_dropped", (2, 9), 0.0),
    DropoutCase("nearly_all_dropped", (5, 41), 0.97),
    DropoutCase("large_key", (3, 17), 0.5, (2**64 - 5, 2**32 - 1, 2**40 + 9)),
    DropoutCase("many_chunks", (19, 33, 31, 5), 0.2),
]
DROP_PATHS = [
    DropoutCase("images", (13, 5, 7, 3), 0.3),  # more examples than a block of random numbers
    DropoutCase("fours", (9, 3, 4, 4), 0.6),
    DropoutCase("vectors", (21, 17), 0.5),
    DropoutCase("one_number", (1, 1), 0.5),
    DropoutCase("nothing_dropped", (4, 3), 0.0),
    DropoutCase("nearly_all_dropped", (19, 5), 0.97),
    DropoutCase("large_key", (17, 3), 0.5, (2**64 - 5, 2**32 - 1, 2**40 + 9)),
    DropoutCase("many_chunks", (19, 33, 31, 5), 0.4),
]


def _dropout_calls() -> Iterator[Call]:
    for c in DROPOUTS:
        yield Call("dropout", c.name, lambda rng, c=c: given(rng.normal(size=c.shape), c.rate, c.random_key))
    for c in DROP_PATHS:
        yield Call("drop_path", c.name, lambda rng, c=c: given(rng.normal(size=c.shape), c.rate, c.random_key))
