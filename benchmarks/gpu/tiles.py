"""Times every tile of the matrix products of a training step.

How a sum is cut depends on the shape alone, so each product keeps the number of splits that the rule gives it. Only the
tile changes, which does not change the order of a sum.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from benchmarks.clock import Clock, clock_of
from benchmarks.gpu.turn import Turn, header
from benchmarks.kernels.launches import Work
from benchmarks.models import model_config
from benchmarks.records import finite
from benchmarks.step.parts import time_launches
from benchmarks.workload import SEED, Workload, named_options, noise
from cnn.backends import get_ops
from cnn.kernels import KERNELS
from cnn.kernels.families.gemm_rules import SQUARE, TILES, Variant, choose
from cnn.kernels.families.tensor_plan import TensorProduct, estimate
from cnn.kernels.families.tensor_rules import TensorTile
from cnn.kernels.tile_choice import Device, Product
from cnn.models import build_model
from cnn.models.precision import ops_of_precision, storage_of
from foundation.files import write_json, write_text

MODELS, BATCHES = ("resnet9", "vgg_small", "baseline"), (512, 64, 256, 1024)
INPUT, CLASSES = (48, 48, 1), 7
REPEATS = 5


@dataclass
class Measured:
    """A product of a step, and the seconds that each tile takes."""

    function: str  # the kernel's name without its tile
    asked: dict[str, Any]  # what decides on the tile, by name
    product: Product
    splits: int
    flops: int
    rule: str  # the tile by the estimate
    seconds: dict[str, float] = field(default_factory=dict)
    sum_seconds: float | None = None  # of the kernel that adds the parts, where there are several

    @property
    def fastest(self) -> str:
        """The tile."""
        return min(self.seconds, key=lambda tile: self.seconds[tile])

    @property
    def loss(self) -> float:
        """What the rule's tile takes longer than the fastest, as a fraction."""
        return self.seconds[self.rule] / self.seconds[self.fastest] - 1

    def row(self) -> dict[str, Any]:
        """In types of JSON."""
        return {**asdict(self), "fastest": self.fastest, "loss": self.loss}


@dataclass(frozen=True)
class Kind:
    """Products of one kind of kernels: the backend's attribute that chooses a tile, and from what."""

    hook: str
    rule: Callable[..., tuple[Any, int]]
    candidates: Callable[..., Sequence[Any]]
    asked: Callable[..., dict[str, Any]]
    tensor: bool

    def has(self, name: str) -> bool:
        """Whether the kernel is of this kind."""
        tiling = KERNELS[name].tiling
        return tiling is not None and isinstance(tiling.tile, TensorTile) is self.tensor


def _float_candidates(rows: int, columns: int, k: int, batches: int, vector: bool, device: Device) -> list[Variant]:
    return [Variant(tile, vector) for tile in (TILES if vector else (SQUARE,))]


def _float_asked(rows: int, columns: int, k: int, batches: int, vector: bool, device: Device) -> dict[str, Any]:
    return {"rows": rows, "columns": columns, "k": k, "batches": batches, "vector": vector}


def _tensor_asked(product: TensorProduct, device: Device) -> dict[str, Any]:
    return asdict(product)


_FLOATS = Kind("plan", choose, _float_candidates, _float_asked, False)
_TENSOR = Kind("tensor_plan", estimate, TensorProduct.candidates, _tensor_asked, True)
# The products of a step in each precision, those that matter most first.
TUNERS: Mapping[str, Kind] = {"bfloat16": _TENSOR, "tf32": _TENSOR, "float32": _FLOATS}


class Numbered:
    """A plan that gives each product its candidate of this number, while there are so many, and the rule's splits."""

    def __init__(self, kind: Kind, number: int) -> None:
        self.kind, self.number = kind, number
        self.most = 0  # candidates of a product
        self.asked: dict[str, Any] = {}  # of the product before the next launch
        self.rule = ""

    def __call__(self, *asked: Any) -> tuple[Any, int]:
        """As the kind's rule."""
        (chosen, splits), candidates = self.kind.rule(*asked), self.kind.candidates(*asked)
        self.asked, self.rule, self.most = self.kind.asked(*asked), chosen.suffix, max(self.most, len(candidates))
        return (candidates[self.number] if self.number < len(candidates) else chosen), splits


class Tuner:
    """The times of all products so far in one precision. A product that several steps have is timed once."""

    def __init__(self, ops: Any, precision: str, clock: Clock, repeats: int) -> None:
        self.precision, self.clock, self.repeats = precision, clock, repeats
        self.ops, self.kind = ops_of_precision(precision, ops), TUNERS[precision]
        self.products: dict[Work, Measured] = {}  # by the work without its tile
        self.steps: list[dict[str, Any]] = []
        self._sums: dict[Work, float] = {}

    def tune(self, model: str, batch: int) -> None:
        """Time what is new of a training step of the model."""
        ops, storage = self.ops, storage_of(self.precision)
        built = build_model(model_config(model), ops, INPUT, CLASSES, SEED, storage=storage)
        work = Workload(named_options("adam", "flip_shift"), built, *noise(batch, INPUT, CLASSES), batch)
        plan, numbered = getattr(ops, self.kind.hook), Numbered(self.kind, 0)
        try:
            setattr(ops, self.kind.hook, numbered)
            calls = self._pass(work, batch, numbered)
            while numbered.number + 1 < numbered.most:
                numbered.number += 1
                self._pass(work, batch, numbered)
        finally:
            setattr(ops, self.kind.hook, plan)
        numbers = {product: number for number, product in enumerate(self.products)}
        pairs = [(numbers[product], count) for product, count in calls.items()]
        self.steps.append({"model": model, "batch": batch, "calls": pairs})

    def _pass(self, work: Workload, batch: int, numbered: Numbered) -> Counter[Work]:
        """Time what is new of a step with this plan; how often the step has each product."""
        seen: Counter[Work] = Counter()
        adds: dict[Work, list[Work]] = {}  # products by the launch that adds their parts
        before: Work | None = None

        def new(launch: Work) -> bool:
            nonlocal before
            product, before = before, None
            if product is not None and launch.name.startswith("sum_splits"):
                adds.setdefault(launch, []).append(product)
                return launch not in self._sums
            if not self.kind.has(launch.name):
                return False
            before = _without_tile(launch)
            seen[before] += 1
            return _tile(launch) not in self._measured(launch, numbered).seconds

        work.begin_epoch()
        for each in time_launches(self.ops, lambda: work.step.run(batch), self.clock, self.repeats, new):
            if self.kind.has(each.work.name):
                self.products[_without_tile(each.work)].seconds[_tile(each.work)] = each.seconds
            else:
                self._sums[each.work] = each.seconds
        for launch, products in adds.items():
            for product in products:
                self.products[product].sum_seconds = self._sums[launch]
        return seen

    def _measured(self, launch: Work, numbered: Numbered) -> Measured:
        product = _without_tile(launch)
        if product not in self.products:
            tiling, values = KERNELS[launch.name].tiling, _values(launch)
            assert tiling is not None
            self.products[product] = Measured(
                product.name,
                numbered.asked,
                tiling.product(values),
                values["splits"],
                launch.flops,
                numbered.rule,
            )
        return self.products[product]

    def record(self) -> dict[str, Any]:
        """All times in types of JSON; `calls` of a step are pairs: the product's number, how often it has it."""
        return {"products": [product.row() for product in self.products.values()], "steps": self.steps}


def _without_tile(launch: Work) -> Work:
    """The launch by the name of its function, whatever its tile."""
    return replace(launch, name=KERNELS[launch.name].expression.partition("<")[0])


def _tile(launch: Work) -> str:
    return launch.name.removeprefix(f"{_without_tile(launch).name}_")


def _values(launch: Work) -> dict[str, Any]:
    """The scalar arguments by name, structs as mappings."""
    return {
        name: dict(value) if isinstance(value, tuple) and value and isinstance(value[0], tuple) else value
        for name, value in launch.numbers
    }


def run(turn: Turn) -> str:
    """Tune the products of all models and batches until the time is over; `tiles.json`, `tiles.md` grow with each."""
    ops: Any = get_ops("cupy", graph=False)
    clock = clock_of(ops)
    limits = asdict(ops.limits)
    facts = turn.facts(device=clock.facts(), method=clock.method, limits=limits)
    models, batches, repeats = (("lenet",), (4,), 1) if turn.quick else (MODELS, BATCHES, REPEATS)
    tuners = [Tuner(ops, precision, clock, repeats) for precision in TUNERS]
    for tuner in tuners:
        for batch in batches:
            for model in models:
                if turn.left < 5 and tuners[0].steps:
                    break
                with contextlib.suppress(MemoryError):  # CuPy's OutOfMemoryError is one: without this step, then
                    tuner.tune(model, batch)
                record = {**facts, "precisions": {each.precision: each.record() for each in tuners if each.steps}}
                write_json(turn.out / "tiles.json", finite(record))
                write_text(turn.out / "tiles.md", render(record))
                clock.forget_memory()
    return f"{sum(len(each.products) for each in tuners)} products of {sum(len(each.steps) for each in tuners)} steps"


def render(record: Mapping[str, Any]) -> str:
    """The record of a run as Markdown: all steps, then all products of each precision."""
    lines = [
        *header("Tiles of the matrix products", record),
        f"Each product by each tile that can compute it, in the parts that the rule gives; {record['method']}.",
        "",
        "| precision | model | batch | products by the rule ms | each by its fastest tile ms | loss |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for precision, found in record["precisions"].items():
        for step in found["steps"]:
            pairs = [(found["products"][number], calls) for number, calls in step["calls"]]
            rule, fastest = (
                sum(calls * product["seconds"][product[tile]] for product, calls in pairs)
                for tile in ("rule", "fastest")
            )
            loss = rule / fastest - 1 if fastest else 0.0
            lines.append(
                f"| {precision} | {step['model']} | {step['batch']} | {1e3 * rule:.3f} | {1e3 * fastest:.3f} "
                f"| {loss:.1%} |"
            )
    for precision, found in record["precisions"].items():
        lines += ["", f"## {precision}", ""]
        lines += ["Fastest first, the rule's tile in bold. Loss: what that takes longer than the fastest.", ""]
        lines += ["| product | parts | tiles: µs, TFLOP/s | loss |", "| --- | ---: | --- | ---: |"]
        products = sorted(found["products"], key=lambda product: -product["seconds"][product["fastest"]])
        lines += [_line(product) for product in products]
    return "\n".join(lines) + "\n"


def _line(product: Mapping[str, Any]) -> str:
    size = product["product"]
    cells = []
    for tile, seconds in sorted(product["seconds"].items(), key=lambda pair: pair[1]):
        name = tile.removesuffix("_bf16").removesuffix("_tf32")
        rate = product["flops"] / seconds / 1e12 if seconds else 0.0
        text = f"{name} {1e6 * seconds:.1f}, {rate:.0f}"
        cells.append(f"**{text}**" if tile == product["rule"] else text)
    shape = f"{size['rows']}×{size['columns']}×{size['k']}"
    function = product["function"].removeprefix("tensor_")
    return f"| {function} {shape} | {product['splits']} | {'; '.join(cells)} | {product['loss']:.1%} |"
