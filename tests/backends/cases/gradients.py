"""What finite differences check: a function of one argument, and how its gradient is computed."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.cases.call import Given, given
from backends.cases.convolution import CONVS, DENSES
from backends.cases.elementwise import ACTIVATIONS, CONCATS, DROP_PATHS, DROPOUTS, ELEMENTS, named
from backends.cases.losses import LOSSES
from backends.cases.normalization import GROUP_NORMS, NORMS
from backends.cases.pooling import IMAGES, POOLS
from backends.cases.tail import TAILS, TailCase
from cnn.backends import Join, Normalize, PReLU

Path = tuple[Any, ...]  # indices, and names of fields


@dataclass(frozen=True, eq=False)
class Gradient:
    """`compute(ops, dy, *arguments)` is the gradient of `forward(ops, *arguments)` in the argument at `at`."""

    op: str  # the operation that computes it
    name: str
    build: Callable[[np.random.Generator], Given]
    at: Path
    forward: Callable[..., Any]
    compute: Callable[..., Any]

    def arguments(self) -> tuple:
        return self.build(np.random.default_rng(zlib.crc32(self.name.encode()))).args


def look(tree: Any, path: Path) -> Any:
    """What stands at the path."""
    for step in path:
        tree = getattr(tree, step) if isinstance(step, str) else tree[step]
    return tree


def put(tree: Any, path: Path, value: Any) -> Any:
    """The tree with `value` at the path."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(step, str):
        return dataclasses.replace(tree, **{step: put(getattr(tree, step), rest, value)})
    changed = [put(each, rest, value) if i == step else each for i, each in enumerate(tree)]
    return type(tree)(changed)


def _products() -> Iterator[Gradient]:
    def conv(ops, x, w, b, window, groups):
        return ops.conv2d(x, w, b, window, groups)

    for c in CONVS:
        parts = {
            "conv2d_backward_input": lambda ops, dy, x, w, b, window, groups: ops.conv2d_backward_input(
                dy, w, window, groups
            ),
            "conv2d_backward_filter": lambda ops, dy, x, w, b, window, groups: ops.conv2d_backward_filter(
                dy, x, window, groups
            ),
            "bias_backward": lambda ops, dy, *_: ops.bias_backward(dy),
        }
        for at, (op, compute) in enumerate(parts.items()):
            if op != "bias_backward" or c.name == "same":
                yield Gradient(op, f"{op}-{c.name}", c.forward, (at,), conv, compute)
    for d in DENSES:
        parts = {
            "dense_backward_input": lambda ops, dy, x, w, b: ops.dense_backward_input(dy, w),
            "dense_backward_filter": lambda ops, dy, x, w, b: ops.dense_backward_filter(dy, x),
        }
        for at, (op, compute) in enumerate(parts.items()):
            yield Gradient(op, f"{op}-{d.name}", d.forward, (at,), lambda ops, *a: ops.dense(*a), compute)


def _pools() -> Iterator[Gradient]:
    for c in POOLS:
        window = c.window
        yield Gradient(
            "max_pool2d_backward",
            f"max_pool2d_backward-{c.name}",
            lambda rng, c=c: given(c.x(rng)),
            (0,),
            lambda ops, x, w=window: ops.max_pool2d(x, w)[0],
            lambda ops, dy, x, w=window: ops.max_pool2d_backward(dy, ops.max_pool2d(x, w)[1], w),
        )
        for counts in (False, True) if window.has_padding else (False,):
            yield Gradient(
                "avg_pool2d_backward",
                f"avg_pool2d_backward-{c.name}-{counts}",
                lambda rng, c=c: given(c.x(rng)),
                (0,),
                lambda ops, x, w=window, p=counts: ops.avg_pool2d(x, w, p),
                lambda ops, dy, x, w=window, p=counts: ops.avg_pool2d_backward(dy, w, p),
            )
    for shape in IMAGES:
        yield Gradient(
            "global_avg_pool2d_backward",
            f"global_avg_pool2d_backward-{shape}",
            lambda rng, s=shape: given(rng.normal(size=s)),
            (0,),
            lambda ops, x: ops.global_avg_pool2d(x),
            lambda ops, dy, x: ops.global_avg_pool2d_backward(dy, x.shape[1:3]),
        )


def _norms() -> Iterator[Gradient]:
    for c in NORMS:
        for at, part in enumerate(("x", "gamma", "beta")):
            yield Gradient(
                "normalize_backward",
                f"normalize_backward-{c.name}-{part}",
                lambda rng, c=c: given(c.x(rng), *c.affine(rng)),
                (at,),
                lambda ops, x, gamma, beta, e=c.eps: ops.normalize(x, gamma, beta, ops.moments(x), e),
                lambda ops, dy, x, gamma, beta, e=c.eps, i=at: ops.normalize_backward(
                    dy, x, gamma, ops.moments(x), e, True
                )[i],
            )
            yield Gradient(
                "normalize_backward",
                f"normalize_backward-{c.name}_of_other_batches-{part}",
                lambda rng, c=c: given(c.x(rng), *c.affine(rng), c.moments(rng)),
                (at,),
                lambda ops, x, gamma, beta, moments, e=c.eps: ops.normalize(x, gamma, beta, moments, e),
                lambda ops, dy, x, gamma, beta, moments, e=c.eps, i=at: ops.normalize_backward(
                    dy, x, gamma, moments, e, False
                )[i],
            )
    for g in GROUP_NORMS:
        for at, part in enumerate(("x", "gamma", "beta")):
            yield Gradient(
                "group_norm_backward",
                f"group_norm_backward-{g.name}-{part}",
                lambda rng, g=g: given(g.x(rng), *g.affine(rng)),
                (at,),
                lambda ops, x, gamma, beta, g=g: ops.group_norm(x, gamma, beta, g.groups, g.eps)[0],
                lambda ops, dy, x, gamma, beta, g=g, i=at: ops.group_norm_backward(
                    dy, x, gamma, ops.group_norm(x, gamma, beta, g.groups, g.eps)[1], g.groups, g.eps
                )[i],
            )


def _elements() -> Iterator[Gradient]:
    image = ELEMENTS[0]
    for activation in ACTIVATIONS:

        def backward(ops, dy, x, a=activation):
            return ops.activation_backward(dy, ops.activation(x, a) if a.needs == "output" else x, a)

        yield Gradient(
            "activation_backward",
            f"activation_backward-{named(activation)}",
            lambda rng: given(image.x(rng)),
            (0,),
            lambda ops, x, a=activation: ops.activation(x, a),
            backward,
        )
    for c in ELEMENTS[:3]:
        for at in range(2):
            yield Gradient(
                "prelu_backward",
                f"prelu_backward-{c.name}-{at}",
                lambda rng, c=c: given(c.x(rng), rng.normal(size=c.shape[-1])),
                (at,),
                lambda ops, x, slope: ops.prelu(x, slope),
                lambda ops, dy, x, slope, i=at: ops.prelu_backward(dy, x, slope)[i],
            )
            for gate in (False, True) if len(c.shape) == 4 else (False,):
                other = (c.shape[0], c.shape[3]) if gate else c.shape
                yield Gradient(
                    "multiply_backward",
                    f"multiply_backward-{c.name}-{gate}-{at}",
                    lambda rng, c=c, other=other: given(c.dy(rng), rng.normal(size=other)),
                    (at,),
                    lambda ops, a, b: ops.multiply(a, b),
                    lambda ops, dy, a, b, i=at: ops.multiply_backward(dy, a, b)[i],
                )
    for name, lead, sizes in CONCATS[:4]:
        for part in range(len(sizes)):
            yield Gradient(
                "split",
                f"split-{name}-{part}",
                lambda rng, m=lead, s=sizes: given([rng.normal(size=(*m, size)) for size in s]),
                (0, part),
                lambda ops, parts: ops.concat(parts),
                lambda ops, dy, parts, s=sizes, i=part: ops.split(dy, s)[i],
            )
    for d in DROPOUTS[:3]:
        yield Gradient(
            "dropout",
            f"dropout-{d.name}",
            lambda rng, d=d: given(rng.normal(size=d.shape)),
            (0,),
            lambda ops, x, d=d: ops.dropout(x, d.rate, d.random_key),
            lambda ops, dy, x, d=d: ops.dropout(dy, d.rate, d.random_key),
        )
    for d in DROP_PATHS[:3]:
        yield Gradient(
            "drop_path",
            f"drop_path-{d.name}",
            lambda rng, d=d: given(rng.normal(size=d.shape)),
            (0,),
            lambda ops, x, d=d: ops.drop_path(x, d.rate, d.random_key),
            lambda ops, dy, x, d=d: ops.drop_path(dy, d.rate, d.random_key),
        )


def _losses() -> Iterator[Gradient]:
    for c in LOSSES:
        if c.masked:
            continue
        keywords = {"smoothing": c.smoothing, "ignore_index": c.ignored}
        yield Gradient(
            "cross_entropy",
            f"cross_entropy-{c.name}",
            lambda rng, c=c: given(c.logits(rng), c.labels(rng), rng.uniform(0.2, 3, c.classes)),
            (0,),
            lambda ops, logits, labels, weights, k=keywords: ops.cross_entropy(logits, labels, weights, **k)[0],
            lambda ops, dy, logits, labels, weights, k=keywords: (
                dy * ops.cross_entropy(logits, labels, weights, **k)[1]
            ),
        )
        yield Gradient(
            "soft_cross_entropy",
            f"soft_cross_entropy-{c.name}",
            lambda rng, c=c: given(c.logits(rng), c.targets(rng).values, rng.uniform(0.2, 3, c.classes), c.smoothing),
            (0,),
            lambda ops, *a: ops.soft_cross_entropy(*a)[0],
            lambda ops, dy, *a: dy * ops.soft_cross_entropy(*a)[1],
        )

    def l2_backward(ops, dy, w):
        dw = np.zeros_like(w)
        ops.l2_penalty_backward(w, 0.013, dw)
        return dw * dy

    yield Gradient(
        "l2_penalty_backward",
        "l2_penalty_backward",
        lambda rng: given(rng.normal(size=(3, 5))),
        (0,),
        lambda ops, w: ops.l2_penalty(w, 0.013),
        l2_backward,
    )


def _tails() -> Iterator[Gradient]:
    for c in TAILS:
        if not c.small:
            continue
        made = c.make(np.random.default_rng(zlib.crc32(c.name.encode())))
        paths: list[Path] = [(0,)]
        for i, stage in enumerate(made.stages):
            if isinstance(stage, Normalize):
                paths += [(1, i, "gamma"), (1, i, "beta")]
            elif isinstance(stage, PReLU):
                paths.append((1, i, "slope"))
            elif isinstance(stage, Join):
                paths.append((1, i, "other"))
        for path in paths:
            yield Gradient(
                "tail_backward",
                "-".join(["tail_backward", c.name, *map(str, path)]),
                lambda rng, made=made: given(made.u, [_filled_anew(stage) for stage in made.stages]),
                path,
                lambda ops, u, stages, c=c: _tail(ops, c, u, stages)[0],
                lambda ops, dy, u, stages, c=c, path=path: _tail_gradient(ops, c, dy, u, stages, path),
            )


def _filled_anew(stage: Any) -> Any:
    """The stage with arrays for its gradients, not markers of them."""
    if isinstance(stage, Normalize):
        return dataclasses.replace(stage, gradients=(np.empty_like(stage.gamma), np.empty_like(stage.gamma)))
    return dataclasses.replace(stage, gradient=np.empty_like(stage.slope)) if isinstance(stage, PReLU) else stage


def _tail(ops: Any, c: TailCase, u: Any, stages: list) -> tuple:
    """The tail behind the producer's activation, its batch statistics computed anew."""
    x = u if c.before is None else ops.activation(u, c.before)
    if stages and isinstance(stages[0], Normalize) and stages[0].batch:
        stages = [dataclasses.replace(stages[0], moments=ops.moments(x)), *stages[1:]]
    y, saved = ops.tail(x, stages)
    return y, x, stages, saved


def _tail_gradient(ops: Any, c: TailCase, dy: Any, u: Any, stages: list, path: Path) -> Any:
    _, x, stages, saved = _tail(ops, c, u, stages)
    dx, others = ops.tail_backward(dy, stages, saved, c.before and (c.before, x))
    if path == (0,):
        return dx
    index, field = path[1:]
    if field == "other":
        return others[sum(isinstance(stage, Join) for stage in stages[:index])]
    stage = stages[index]
    return stage.gradient if field == "slope" else stage.gradients[0 if field == "gamma" else 1]


GRADIENTS: list[Gradient] = [*_products(), *_pools(), *_norms(), *_elements(), *_losses(), *_tails()]
