"""Times every tile of the matrix products of a training step, and stores the fastest for this device.

How a sum is cut depends on the shape alone, so each product keeps the number of splits that the rule gives it. Only the
tile changes, which does not change the order of a sum.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.clock import Clock, clock_of
from benchmarks.gpu.turn import Turn
from benchmarks.kernels.launches import Work
from benchmarks.models import model_config
from benchmarks.records import finite
from benchmarks.step.parts import time_launches
from benchmarks.workload import named_options, workload
from cnn.backends import get_ops
from cnn.backends.cuda import CudaOps
from cnn.kernels.families.gemm_rules import Variant, choose, variants
from foundation.files import write_json

MODELS, BATCHES = ("resnet9", "vgg_small", "baseline"), (512, 64, 256, 1024)
INPUT, CLASSES = (48, 48, 1), 7

Times = dict[str, float]  # seconds by the variant's suffix
# A product without its tile: the kernel's name, the shapes of its arrays, its other arguments.
Product = tuple[str, tuple[tuple[str, tuple[int, ...]], ...], tuple[tuple[str, Any], ...]]


class Forced:
    """A plan that takes one variant wherever vectors fit as it needs, with the splits of the rule."""

    def __init__(self, variant: Variant | None) -> None:
        self.variant = variant

    def __call__(self, *shape: Any) -> tuple[Variant, int]:
        """As `gemm_rules.choose`."""
        chosen, splits = choose(*shape)
        fits = self.variant is not None and self.variant.vector == chosen.vector
        return (self.variant if fits else chosen), splits  # type: ignore[return-value]


def float32_tiles(ops: CudaOps, model: str, batch: int, repeats: int, clock: Clock) -> dict[Product, Times]:
    """The time of every product of a float32 step of the model, by each variant that is compiled."""
    found: dict[Product, Times] = {}
    plan = ops.plan
    try:
        for variant in variants():
            ops.plan = Forced(variant)
            work = workload(
                named_options("adam", "flip_shift"),
                model_config(model),
                ops,
                input_shape=INPUT,
                classes=CLASSES,
                images=batch,
                batch=batch,
            )
            work.begin_epoch()
            step = functools.partial(work.step.run, batch)
            for timed in time_launches(ops, step, clock, repeats, _is_product):
                if (product := _product(timed.work, variant)) is not None:
                    found.setdefault(product, {})[variant.suffix] = timed.seconds
    finally:
        ops.plan = plan
    return found


def _is_product(name: str) -> bool:
    return any(f"_{variant.suffix}" in name for variant in variants())


def _product(work: Work, variant: Variant) -> Product | None:
    name = work.name.removesuffix(f"_{variant.suffix}")
    return None if name == work.name else (name, work.arrays, work.numbers)


# The tuners of all kinds of products, by the name under which their choice is stored. Those of the tensor cores' tiles
# are to be added here: a function of the same form.
TUNERS: Mapping[str, Callable[[CudaOps, str, int, int, Clock], dict[Product, Times]]] = {"float32": float32_tiles}


def run(turn: Turn) -> str:
    """Tune the products of all models and batches until the time is over; writes `tiles.json` after each."""
    ops: Any = get_ops("cupy", graph=False)
    clock = clock_of(ops)
    facts = turn.facts(device=clock.facts(), method=clock.method)
    models, batches, repeats = (("lenet",), (4,), 1) if turn.quick else (MODELS, BATCHES, 7)
    chosen: dict[str, list[dict[str, Any]]] = {name: [] for name in TUNERS}
    tuned: list[list[Any]] = []
    for batch in batches:
        for model in models:
            if turn.left < 10 and tuned:
                break
            for name, tune in TUNERS.items():
                chosen[name] += [_row(*each) for each in tune(ops, model, batch, repeats, clock).items()]
            tuned.append([model, batch])
            write_json(turn.out / "tiles.json", finite({**facts, "tuned": tuned, "products": chosen}))
            clock.forget_memory()
    return f"{sum(map(len, chosen.values()))} products of {len(tuned)} steps"


def _row(product: Product, times: Times) -> dict[str, Any]:
    name, arrays, numbers = product
    return {
        "product": name,
        "arrays": {array: list(shape) for array, shape in arrays},
        "numbers": {key: str(value) for key, value in numbers},
        "seconds": times,
        "fastest": min(times, key=lambda suffix: times[suffix]),
    }
