"""Normalisation over a batch, and over groups of channels of each example."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backends.cases.call import Call, Filled, given, poison


@dataclass(frozen=True)
class NormCase:
    name: str
    shape: tuple[int, ...]
    eps: float = 1e-5
    mean: float = 0.5
    deviation: float = 2.0

    def x(self, rng):
        return rng.normal(self.mean, self.deviation, self.shape)

    def dy(self, rng):
        return rng.normal(size=self.shape)

    def per_channel(self, rng):
        return rng.normal(size=self.shape[-1])

    def affine(self, rng):
        return self.per_channel(rng), self.per_channel(rng)

    def moments(self, rng):
        """Any mean and variance: those of other batches."""
        return np.stack([self.per_channel(rng), rng.uniform(0.2, 3, self.shape[-1])])

    def backward(self, rng, batch: bool, **out):
        x = self.x(rng).astype(np.float32).astype(float)
        axes = tuple(range(x.ndim - 1))
        moments = np.stack([x.mean(axis=axes), x.var(axis=axes)]) if batch else self.moments(rng)
        return given(self.dy(rng), x, self.per_channel(rng), moments, self.eps, batch, **out)

    @property
    def out(self):
        return {"out": (poison(self.shape[-1]), poison(self.shape[-1]))}


NORMS = [
    NormCase("image", (3, 5, 7, 4)),
    NormCase("one_channel", (2, 5, 3, 1)),
    NormCase("batch_1", (1, 4, 3, 5)),
    NormCase("33_channels", (2, 5, 4, 33)),
    NormCase("vector", (6, 17)),
    NormCase("vector_of_300", (4, 300)),
    NormCase("large_eps", (3, 4, 5, 3), eps=1e-1),
    NormCase("small_deviation", (3, 4, 5, 3), eps=1e-3, deviation=0.05),
    NormCase("many_chunks", (19, 48, 48, 5), eps=1e-3),
    NormCase("many_chunks_of_132_channels", (9, 12, 11, 132)),
]


@dataclass(frozen=True)
class GroupNormCase(NormCase):
    groups: int = 1

    def forward(self, rng):
        return given(self.x(rng), *self.affine(rng), self.groups, self.eps)

    def backward_of_groups(self, rng, **out):
        x = self.x(rng).astype(np.float32).astype(float)
        grouped = x.reshape(len(x), -1, self.groups, self.shape[-1] // self.groups)
        statistics = np.stack([grouped.mean(axis=(1, 3)), grouped.var(axis=(1, 3))], axis=2)
        return given(self.dy(rng), x, self.per_channel(rng), statistics, self.groups, self.eps, **out)


GROUP_NORMS = [
    GroupNormCase("one_group", (3, 5, 4, 6)),
    GroupNormCase("two_groups", (3, 5, 4, 6), groups=2),
    GroupNormCase("a_group_for_each_channel", (3, 5, 4, 6), groups=6),
    GroupNormCase("fours", (2, 4, 4, 16), groups=4),
    GroupNormCase("layer_norm_of_pixels", (35, 1, 7)),
    GroupNormCase("layer_norm_of_pixels_of_300_channels", (6, 1, 300)),
    GroupNormCase("layer_norm_of_pixels_of_four", (19, 1, 4)),
    GroupNormCase("vectors", (5, 12), groups=3),
    GroupNormCase("33_channels_in_three", (2, 5, 4, 33), groups=3),
    GroupNormCase("small_deviation", (3, 4, 5, 6), eps=1e-3, deviation=0.05, groups=2),
    GroupNormCase("large_eps", (3, 4, 5, 4), eps=1e-1, groups=2),
    GroupNormCase("many_chunks", (5, 40, 33, 8), groups=2),
    GroupNormCase("many_rows", (3000, 1, 9)),
]


def norm_calls() -> Iterator[Call]:
    for i, c in enumerate(NORMS):
        out = c.out if i % 2 else {}
        filled = {"out": poison(2, c.shape[-1])} if i % 2 else {}
        yield Call("moments", c.name, lambda rng, c=c, f=filled: given(c.x(rng), **f))
        yield Call("normalize", c.name, lambda rng, c=c: given(c.x(rng), *c.affine(rng), c.moments(rng), c.eps))
        yield Call("normalize_backward", c.name, lambda rng, c=c, out=out: c.backward(rng, True, **out))
        yield Call(
            "normalize_backward", f"{c.name}_of_other_batches", lambda rng, c=c, out=out: c.backward(rng, False, **out)
        )
        yield Call("running_average", c.name, lambda rng, c=c: given(Filled(c.moments(rng)), c.moments(rng), 0.99))
    for i, g in enumerate(GROUP_NORMS):
        out = g.out if i % 2 else {}
        yield Call("group_norm", g.name, g.forward)
        yield Call("group_norm_backward", g.name, lambda rng, g=g, out=out: g.backward_of_groups(rng, **out))
