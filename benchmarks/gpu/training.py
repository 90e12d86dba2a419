"""Training images/s beside PyTorch's: the same network, batch and optimizer, in the modes that people use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.clock import Clock, clock_of, time_host, time_through
from benchmarks.gpu.turn import Turn, header
from benchmarks.models import model_config
from benchmarks.records import finite
from benchmarks.step.torch_rows import BF16, TorchMode, torch_row
from benchmarks.torch_reference import one_line, torch_facts, torch_missing
from benchmarks.workload import SEED, Workload, named_options, noise, standardized
from cnn.backends import get_ops
from cnn.models import build_model
from foundation.files import write_json, write_text

MODELS, BATCHES = ("resnet9", "vgg_small", "baseline"), (512, 256, 1024, 64)
STORAGES = ("bfloat16", "float32")
INPUT, CLASSES, IMAGES = (48, 48, 1), 7, 16384
# A compilation takes from a quarter of a minute to more than one, for tuned modes.
_SECONDS_OF_A_ROW = {"eager": 5.0, "max-autotune": 60.0}
_SECONDS_OF_COMPILING = 30.0


def run(turn: Turn) -> str:
    """Time one row after the other until the time is over; writes `training.md` and `training.json` after each."""
    ops: Any = get_ops("cupy")
    clock = clock_of(ops)
    missing = torch_missing()
    more = {} if missing else {"torch": torch_facts()}
    facts = turn.facts(device=clock.facts(), **more)
    rows: list[dict[str, Any]] = []
    left_out = 0
    for model, batch, mode in cells(turn.quick, missing):
        if rows and turn.left < _SECONDS_OF_A_ROW.get(_kind(mode), _SECONDS_OF_COMPILING):
            left_out += 1
            continue
        row = ours(ops, clock, model, batch, mode, turn) if isinstance(mode, str) else theirs(ops, model, batch, mode)
        rows.append({"model": model, "batch": batch, **row})
        clock.forget_memory()
        record = finite({**facts, "rows": rows, "left_out": left_out, "torch_missing": missing})
        write_json(turn.out / "training.json", record)
        write_text(turn.out / "training.md", markdown(record))
    return f"{len(rows)} rows, {left_out} left out for want of time" + (f"; {missing}" if missing else "")


def cells(quick: bool, missing: str | None) -> Iterator[tuple[str, int, str | TorchMode]]:
    """What to time, in the order of its worth: what is new, what it is held against, the rest."""
    models, batches = (("lenet",), (4,)) if quick else (MODELS, BATCHES)
    eager, default, overhead, tuned = ([], [], [], []) if missing else ([mode] for mode in BF16)
    groups: list[tuple[tuple[int, ...], Sequence[str | TorchMode]]] = [
        (batches, STORAGES[:1]),
        (batches[:1], eager),
        (batches[:1], overhead),
        (batches[1:], eager),
        (batches, STORAGES[1:]),
        (batches[:1], default),
        (batches[:1], tuned),
        (batches[1:], [*overhead, *default, *tuned]),
    ]
    for sizes, modes in groups:
        for batch in sizes:
            for model in models:
                for mode in modes:
                    yield model, batch, mode


def ours(ops: Any, clock: Clock, model: str, batch: int, storage: str, turn: Turn) -> dict[str, Any]:
    """Our step, captured; a failure is told in the row."""
    row: dict[str, Any] = {"by": f"ours, {storage}"}
    steps = 2 if turn.quick else 40
    try:
        network = build_model(model_config(model), ops, INPUT, CLASSES, SEED, storage=storage)
        images, labels = noise(2 * batch if turn.quick else IMAGES, INPUT, CLASSES)
        work = Workload(named_options("adam", "flip_shift"), network, images, labels, batch)
        for _ in range(5):  # runs, records, replays
            work()
        seconds = time_through(clock, work, steps)
        row |= {"seconds": seconds, "images_per_second": batch / seconds}
        row |= {"host_seconds": time_host(clock, work, min(steps, 10)), "peak_bytes": clock.memory_peak()}
    except Exception as error:
        row["error"] = one_line(error)
    return row


def theirs(ops: Any, model: str, batch: int, mode: TorchMode) -> dict[str, Any]:
    """PyTorch's step in this mode."""
    network = build_model(model_config(model), ops, INPUT, CLASSES, SEED)
    images, labels = noise(batch, INPUT, CLASSES)
    row = torch_row(named_options("adam"), network, standardized(images), labels, mode, "cuda", 40, 10)
    return {"by": f"PyTorch {row.pop('mode')}", **row}


def _kind(mode: str | TorchMode) -> str:
    return "eager" if isinstance(mode, str) or mode.compiled is None else mode.compiled


def markdown(record: dict[str, Any]) -> str:
    """One row for each side and mode; the last column compares our best with it."""
    lines = [
        *header("Training beside PyTorch", record),
        "A step is batch, forward, loss, backward, update with Adam. Ours selects and augments its images;",
        "PyTorch's are ready, channels-last, with bf16 autocast. *host ms* is the host's time for one of our steps.",
        f"Rows left out for want of time: {record['left_out']}."
        + (f" {record['torch_missing']}." if record["torch_missing"] else ""),
        "",
        "| model | batch | by | images/s | ms a step | host ms | memory MiB | ours, best of both storages, is |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    best: dict[tuple[str, int], float] = {}
    for row in record["rows"]:
        if row["by"].startswith("ours") and "images_per_second" in row:
            key = row["model"], row["batch"]
            best[key] = max(best.get(key, 0.0), row["images_per_second"])
    for row in sorted(record["rows"], key=lambda row: (row["model"], row["batch"])):
        if "error" in row:
            cells = [row["error"], "", "", "", ""]
        else:
            own = best.get((row["model"], row["batch"]))
            compared = "" if own is None or row["by"].startswith("ours") else f"{own / row['images_per_second']:.2f}x"
            cells = [
                f"{row['images_per_second']:,.0f}",
                f"{1e3 * row['seconds']:,.3f}",
                f"{1e3 * row['host_seconds']:,.3f}" if "host_seconds" in row else "",
                f"{row['peak_bytes'] / 2**20:,.0f}" if row.get("peak_bytes") is not None else "",
                compared,
            ]
        lines.append(f"| {row['model']} | {row['batch']} | {row['by']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
