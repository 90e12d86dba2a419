"""`python -m benchmarks.gpu.tiles`: what becomes of the times of tiles that `make gpu-check` has measured.

The stage `tiles` times every tile that can compute a matrix product of a training step, in the number of parts that the
rule gives, and the rule's tile also in about half and twice as many parts. --keep takes the fastest tiles over into
`cnn/backends/cuda/measured_tiles.json`, from which the backend takes the tile of such a product on such a device. The
number of parts is not taken over: it follows from the shape alone, because it changes the order of a sum. --fit fits
the constants of the estimate to the times.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.clock import Clock, clock_of
from benchmarks.gpu import tile_costs
from benchmarks.gpu.turn import Turn, header
from benchmarks.kernels.launches import Work
from benchmarks.models import model_config
from benchmarks.records import finite
from benchmarks.step.parts import time_launches
from benchmarks.workload import SEED, Workload, named_options, noise
from cnn.backends import get_ops
from cnn.backends.cuda.measured_tiles import FILE, device_key, product_key
from cnn.kernels import KERNELS
from cnn.kernels.families import gemm_rules, tensor_plan
from cnn.kernels.families.gemm_rules import Variant
from cnn.kernels.families.tensor_plan import TensorProduct
from cnn.kernels.families.tensor_rules import SHORTEST_SPLIT, TensorTile
from cnn.kernels.tile_choice import Device, Product, part_numbers
from cnn.models import build_model
from cnn.models.precision import ops_of_precision, storage_of
from foundation.errors import UserError
from foundation.files import read_json, write_json, write_text

MODELS, BATCHES = ("resnet9", "vgg_small", "baseline"), (512, 64, 256, 1024)
INPUT, CLASSES = (48, 48, 1), 7
REPEATS = 5

Asked = tuple[tuple[str, Any], ...]  # what decides on the tile of a product, by name


@dataclass
class Measured:
    """A product of a step, and the seconds that it takes."""

    function: str  # the kernel's name without its tile
    asked: Asked
    product: Product
    flops: int
    rule: str  # the tile by the estimate
    splits: int
    seconds: dict[tuple[str, int], float] = field(default_factory=dict)  # by the tile and the number of parts

    def row(self) -> dict[str, Any]:
        """In types of JSON. The loss is what the rule's tile takes longer than the fastest, as a fraction."""
        seconds = {tile: taken for (tile, splits), taken in self.seconds.items() if splits == self.splits}
        fastest = min(seconds, key=seconds.__getitem__)
        others = [
            {"splits": splits, "seconds": taken} for (_, splits), taken in self.seconds.items() if splits != self.splits
        ]
        return {
            "function": self.function,
            "asked": dict(self.asked),
            "product": asdict(self.product),
            "flops": self.flops,
            "splits": self.splits,
            "rule": self.rule,
            "fastest": fastest,
            "loss": seconds[self.rule] / seconds[fastest] - 1 if seconds[fastest] else 0.0,
            "seconds": seconds,
            "other_parts": others,  # by the rule's tile
        }


@dataclass(frozen=True)
class Kind:
    """Products of one kind of kernels. What its functions get is what the backend asks its plan for."""

    hook: str  # the backend's attribute, a plan
    rule: Callable[..., tuple[Any, int]]
    tiles: Callable[..., Sequence[Any]]  # those that can compute the product
    parts: Callable[..., Sequence[int]]  # the numbers of parts that its sum can be cut into
    asked: Callable[..., dict[str, Any]]
    tensor: bool

    def has(self, name: str) -> bool:
        """Whether the kernel is of this kind."""
        tiling = KERNELS[name].tiling
        return tiling is not None and isinstance(tiling.tile, TensorTile) is self.tensor

    def options(self, *given: Any) -> list[tuple[Any, int]]:
        """What is timed of a product: all tiles in the parts of the rule, and its tile in fewer and in more."""
        tile, splits = self.rule(*given)
        parts = self.parts(*given)
        fewer = [number for number in parts if 2 * number <= splits][-1:]
        more = [number for number in parts if number >= 2 * splits][:1]
        return [(each, splits) for each in self.tiles(*given)] + [(tile, number) for number in fewer + more]


_FLOATS = Kind(
    "plan",
    gemm_rules.choose,
    lambda rows, columns, k, batches, vector, device: [
        Variant(tile, vector) for tile in (gemm_rules.TILES if vector else (gemm_rules.SQUARE,))
    ],
    lambda rows, columns, k, batches, vector, device: part_numbers(
        Product(rows, columns, k, batches), gemm_rules.SQUARE.k, gemm_rules.SHORTEST_SPLIT
    ),
    lambda rows, columns, k, batches, vector, device: {
        **{"rows": rows, "columns": columns, "k": k, "batches": batches, "vector": vector}
    },
    False,
)
_TENSOR = Kind(
    "tensor_plan",
    tensor_plan.estimate,
    TensorProduct.candidates,
    lambda product, device: (
        part_numbers(product.product, product.candidates(device)[0].k, SHORTEST_SPLIT) if product.may_split else [1]
    ),
    lambda product, device: asdict(product),
    True,
)
# The products of a step in each precision, those that matter most first.
TUNERS: Mapping[str, Kind] = {"bfloat16": _TENSOR, "tf32": _TENSOR, "float32": _FLOATS}


class Numbered:
    """A plan that gives each product its option of this number, while there are so many, and then the rule's."""

    def __init__(self, kind: Kind, number: int) -> None:
        self.kind, self.number = kind, number
        self.most = 0  # options of a product
        # Of the product before the next launch:
        self.asked: Asked = ()
        self.rule: tuple[str, int] = ("", 1)

    def __call__(self, *given: Any) -> tuple[Any, int]:
        """As the kind's rule."""
        tile, splits = self.kind.rule(*given)
        options = self.kind.options(*given)
        self.asked, self.rule = tuple(self.kind.asked(*given).items()), (tile.suffix, splits)
        self.most = max(self.most, len(options))
        return options[self.number] if self.number < len(options) else (tile, splits)


class Tuner:
    """The times of all products so far in one precision. A product that several steps have is timed once."""

    def __init__(self, ops: Any, precision: str, clock: Clock, repeats: int) -> None:
        self.precision, self.clock, self.repeats = precision, clock, repeats
        self.ops, self.kind = ops_of_precision(precision, ops), TUNERS[precision]
        self.products: dict[tuple[str, Asked], Measured] = {}
        self.steps: list[dict[str, Any]] = []

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
        numbers = {key: number for number, key in enumerate(self.products)}
        pairs = [(numbers[key], count) for key, count in calls.items()]
        self.steps.append({"model": model, "batch": batch, "calls": pairs})

    def _pass(self, work: Workload, batch: int, numbered: Numbered) -> Counter[tuple[str, Asked]]:
        """Time what is new of a step with this plan; how often the step has each product."""
        calls: Counter[tuple[str, Asked]] = Counter()
        products: dict[Work, tuple[Measured, str, int]] = {}  # with its tile and the number of parts

        def new(launch: Work) -> bool:
            if not self.kind.has(launch.name):
                return False
            measured, tile, splits = self._measured(launch, numbered)
            calls[measured.function, measured.asked] += 1
            products[launch] = measured, tile, splits
            return (tile, splits) not in measured.seconds

        work.begin_epoch()
        for timed in time_launches(self.ops, lambda: work.step.run(batch), self.clock, self.repeats, new):
            measured, tile, splits = products[timed.work]
            measured.seconds[tile, splits] = timed.seconds
        return calls

    def _measured(self, launch: Work, numbered: Numbered) -> tuple[Measured, str, int]:
        """The product of the launch, its tile and its number of parts."""
        kernel = KERNELS[launch.name]
        function, values = kernel.expression.partition("<")[0], _values(launch)
        assert kernel.tiling is not None
        key = function, numbered.asked
        if key not in self.products:
            product = kernel.tiling.product(values)
            self.products[key] = Measured(*key, product, launch.flops, *numbered.rule)
        return self.products[key], launch.name.removeprefix(f"{function}_"), values["splits"]

    def record(self) -> dict[str, Any]:
        """All times in types of JSON; `calls` of a step are pairs: the product's number, how often it has it."""
        return {"products": [product.row() for product in self.products.values()], "steps": self.steps}


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
    facts = turn.facts(device=clock.facts(), method=clock.method, limits=asdict(ops.limits))
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
        lines += [
            *("", f"## {precision}", ""),
            "Tiles, fastest first, the rule's in bold: µs, TFLOP/s. Loss: what the rule's takes longer than the first.",
            "Parts by the rule's tile, the rule's number in bold: µs, and those of adding the parts.",
            *("", "| product | tiles | loss | parts |", "| --- | --- | ---: | --- |"),
        ]
        products = sorted(found["products"], key=lambda product: -product["seconds"][product["fastest"]])
        lines += [_line(product) for product in products]
    return "\n".join(lines) + "\n"


def _line(row: Mapping[str, Any]) -> str:
    size, tiles = row["product"], []
    for tile, seconds in sorted(row["seconds"].items(), key=lambda pair: pair[1]):
        name = tile.removesuffix("_bf16").removesuffix("_tf32")
        rate = row["flops"] / seconds / 1e12 if seconds else 0.0
        text = f"{name} {1e6 * seconds:.1f}, {rate:.0f}"
        tiles.append(f"**{text}**" if tile == row["rule"] else text)
    own = {"splits": row["splits"], "seconds": row["seconds"][row["rule"]]}
    parts = []
    for each in sorted([own, *row["other_parts"]], key=lambda each: each["splits"]):
        text = f"{each['splits']}: {1e6 * each['seconds']:.1f}"
        parts.append(f"**{text}**" if each is own else text)
    function = row["function"].removeprefix("tensor_")
    shape = f"{function} {size['rows']}×{size['columns']}×{size['k']}"
    return f"| {shape} | {'; '.join(tiles)} | {row['loss']:.1%} | {'; '.join(parts)} |"


def kept(record: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The measured tiles `before`, with those of this record in place of its device's. See `measured_tiles`.

    Where several products are the same for the plan, the tile is the fastest of all of them together.
    """
    sums: dict[str, Counter[str]] = {}
    for precision, found in record["precisions"].items():
        if not TUNERS[precision].tensor:
            continue
        for row in found["products"]:
            times = sums.setdefault(product_key(TensorProduct(**row["asked"])), Counter())
            times.update(row["seconds"])
    tiles = {key: min(times, key=times.__getitem__) for key, times in sorted(sums.items())}
    own = {"device": record["device"]["name"], "measured": record["provenance"]["started"], "tiles": tiles}
    return {**before, device_key(Device(**record["limits"])): own}


def main(arguments: Sequence[str] | None = None, file: Path = FILE) -> int:
    """Run the command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.tiles", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--keep", type=Path, metavar="FILE", help="tiles.json: the backend uses the fastest tiles")
    group.add_argument("--fit", type=Path, metavar="FILE", help="tiles.json: print the constants that fit it")
    chosen = parser.parse_args(arguments)
    try:
        record = read_json(chosen.keep or chosen.fit)
        if not isinstance(record, dict) or not {"precisions", "limits", "device"} <= set(record):
            raise UserError(f"{chosen.keep or chosen.fit} is not the tiles.json of a run of gpu-check")
        if chosen.fit:
            print(tile_costs.report(record))
            return 0
        found = kept(record, read_json(file) if file.exists() else {})
        write_json(file, found)
        print(f"{file.name}: {len(found[device_key(Device(**record['limits']))]['tiles'])} products")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
