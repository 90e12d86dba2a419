"""`python -m benchmarks.fuzz`: damaged files of every kind that is read from others, and what becomes of each.

An input is a file that was whole, changed at random: bits, bytes, lengths, and values within its JSON, YAML and
headers. Every one must be read, or refused by an error of the product's own; anything else is a fault, and is printed
with the number that makes it again. The tests run a part of it.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import re
import resource
import shutil
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]  # the parser that OmegaConf uses
from PIL import Image

from cnn.api.folder import read_folder
from cnn.assembly import trainer_of
from cnn.backends import Ops, get_ops
from cnn.finished_run import FinishedRun
from cnn.reporting.metrics_csv import read_history
from cnn.reporting.sweeps import read_entries
from cnn.run_config import checked_config, read_run_config
from cnn.training.checkpoint import BEST, LAST
from cnn.training.pack import load_pack
from cnn.training.progress import Progress
from data_tools.packs.listing import by_content, find, packs_in
from data_tools.reading.images import ImageError, decode
from data_tools.reading.manifest import read_manifest
from data_tools.sources.containers import MemberError, open_container
from data_tools.sources.find import make_source
from foundation.config import load_choice
from foundation.errors import UserError
from foundation.foreign_config import check_foreign
from foundation.pack_hash import content_hash

Random = np.random.Generator
OWN = (UserError, ImageError)  # ways in which the product refuses an input

CLASSES = ["cat", "dog"]
ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**30, 0.5, 1e308, float("nan"), float("inf"), -0.0),
    *("", "x", "null", "NaN", "é\u202e", "\x00", "../../x", "${oc.env:HOME}", "${data.name}", "a" * 5000, "1e9", "-1"),
    *([], {}, [[]], [None], [1, "a"], {"": None}, {"a": {"b": []}}, [[[[[[[[1]]]]]]]]),
]


@dataclass(frozen=True)
class Target:
    """What is read: whole files by their path in a folder, and what reads them."""

    name: str
    files: dict[str, bytes]
    use: Callable[[Path], object]


# --- whole files ------------------------------------------------------------------------------------------------------


def _config(pack_dir: str) -> dict[str, Any]:
    groups = {
        "data": load_choice("data", "toy_faces") | {"classes": CLASSES, "pack_dir": pack_dir, "image_size": 8},
        "merge": load_choice("merge", "default"),
        "augment": load_choice("augment", "none"),
        "optimizer": load_choice("optimizer", "adam"),
        "schedule": load_choice("schedule", "one_cycle"),
        "trainer": load_choice("trainer", "default") | {"epochs": 2, "batch_size": 8},
        "backend": load_choice("backend", "numpy"),
        "model": {"name": "tiny", "layers": [{"conv2d": {"filters": 2, "kernel": 3}}, "batch_norm", "relu",
                                             "global_avg_pool2d", {"dense": {"units": "classes"}}]},
    }  # fmt: skip
    groups["data"].pop("defaults", None)
    return {**groups, "seed": 3, "resume": None, "baselines": {"logistic_regression_up_to": 0}}


def _pack_files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    arrays = {
        "images": rng.integers(0, 256, (24, 8, 8, 1), np.uint8),
        "labels": np.arange(24) % 2,
        "splits": np.repeat(np.arange(3, dtype=np.uint8), (12, 6, 6)),
    }
    found = {}
    for name, array in arrays.items():
        file = io.BytesIO()
        np.save(file, array)
        found[f"{name}.npy"] = file.getvalue()
    description = {
        "format_version": 3, "name": "toy", "classes": CLASSES, "split_names": ["train", "validation", "test"],
        "images": 24, "content_hash": content_hash(**arrays, classes=CLASSES),
        "class_weights": {"cat": 1.0, "dog": 2.0}, "value_tops": {"a": 255},
        "options": {"data": {"name": "toy"}, "merge": {}}, "sources": {}, "origin": "",
    }  # fmt: skip
    return {**found, "pack.json": json.dumps(description, indent=2).encode()}


def _run_files(ops: Ops) -> dict[str, bytes]:
    """An interrupted run after an epoch, with both checkpoints."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, content in _pack_files().items():
            (folder / path).write_bytes(content)
        pack = load_pack(folder, ops)
        config = checked_config(_config("packs"))
        trainer = trainer_of(config, pack, ops, folder)
        trainer.settings.epochs = 1
        with Progress(bar=False, lines=False) as progress:
            trainer.fit(pack.splits["train"], pack.splits["validation"], progress)
        found = {name: (folder / name).read_bytes() for name in (BEST, LAST)}
    return found | {".hydra/config.yaml": yaml.safe_dump(_config("packs")).encode()}


def _archives() -> dict[str, bytes]:
    picture = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(picture, "png")
    members = {
        f"{split}/{name}/{n}.png": picture.getvalue() for split in ("train", "test") for name in CLASSES for n in (0, 1)
    }
    found = {}
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for path, content in members.items():
                archive.writestr(path, content)
        found[f"{method}.zip"] = file.getvalue()
    for kind in ("", "gz", "bz2", "xz"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=f"w:{kind}") as tar:  # type: ignore[call-overload]
            for path, content in members.items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        found[f"a.tar.{kind}".rstrip(".")] = file.getvalue()
    return found


def _images() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    found = {}
    for kind in ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm", "tga", "pcx", "ico", "dds"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        found[f"a.{kind}"] = file.getvalue()
    return found


def _tables() -> dict[str, bytes]:
    row = " ".join(map(str, range(256))) + " 7" * (2304 - 256)
    fer = "emotion,pixels,Usage\n" + "".join(f"{n},{row},{use}\n" for n in (0, 1) for use in ("Training", "PublicTest"))
    return {"fer2013.csv": fer.encode()}


# --- what reads them --------------------------------------------------------------------------------------------------


def _read_pack(ops: Ops, folder: Path) -> None:
    for pack in packs_in(folder.parent):
        _ = pack.images, pack.origin
    find(folder.parent, {}, None, "")
    by_content(folder.parent, "x")
    load_pack(folder, ops)


def _read_run(ops: Ops, folder: Path) -> None:
    run = FinishedRun.open(folder, ops)
    run.config()
    run.model.forward(ops.array(np.zeros((2, *run.image_shape), np.float32)), False)


def _resume(ops: Ops, pack: Any, folder: Path) -> None:
    config = read_run_config(folder)
    trainer_of(config, pack, ops, folder).resume()


def _read_archives(folder: Path) -> None:
    for path in folder.iterdir():
        for member in open_container(path).members():
            if member.open is not None:
                with suppress(MemberError), member.open() as stream:
                    stream.read()


def _read_sources(folder: Path) -> None:
    for path in folder.iterdir():
        for entry in make_source("x", str(folder), {"kind": "files", "stem": path.name}).entries():
            if entry.data is not None:
                with suppress(ImageError):
                    decode(entry.data)


def targets() -> list[Target]:
    """Everything that is read from others."""
    ops = get_ops("numpy")
    pack, run = _pack_files(), _run_files(ops)
    with tempfile.TemporaryDirectory() as name:
        for path, content in pack.items():
            (Path(name) / path).write_bytes(content)
        loaded = load_pack(Path(name), ops)
    metrics = {"model": "tiny", "seed": 0, "val_accuracy": 0.5, "test_accuracy": 0.4, "macro_f1": 0.4, "seconds": 1.5,
               "parameters": 9, "images_per_second": 3.0}  # fmt: skip
    sweep = {
        "0/metrics.json": json.dumps(metrics).encode(),
        "0/.hydra/overrides.yaml": b"- model=tiny\n- seed=0\n",
        "0/.hydra/hydra.yaml": b"hydra: {runtime: {choices: {model: tiny}}}\n",
    }
    history = "epoch,train_loss,val_accuracy\n1,0.5,0.25\n2,0.25,\n"
    manifest = "id,source,path,original_split,raw_label,label,bytes_sha256,pixels_sha256,perceptual_hash,group,status,"
    manifest += "reason,duplicate_of,split,parent,pack_row,width,height,mode\n"
    manifest += "x:a,x,a,train,cat,cat,0,0,0,,kept,,,train,,0,8,8,grey\n"
    archives, images, tables = _archives(), _images(), _tables()
    config = {".hydra/config.yaml": run[".hydra/config.yaml"]}
    each = [
        Target("pack", pack, partial(_read_pack, ops)),
        Target("finished run", {BEST: run[BEST], **config}, partial(_read_run, ops)),
        Target("network from Python", {BEST: run[BEST]}, partial(read_folder, ops=ops)),
        Target("interrupted run", {LAST: run[LAST], **config}, partial(_resume, ops, loaded)),
        Target("config", {"e.yaml": b"# @package _global_\ndefaults: [override /model: lenet]\ntrainer: {epochs: 1}\n"},
               lambda folder: check_foreign(folder / "e.yaml", "experiment/e")),
        Target("sweep", sweep, read_entries),
        Target("history", {"metrics.csv": history.encode()}, lambda folder: read_history(folder / "metrics.csv")),
        Target("manifest", {"manifest.csv": manifest.encode()}, lambda folder: read_manifest(folder / "manifest.csv")),
    ]  # fmt: skip
    each += [Target(f"archive {name}", {name: content}, _read_archives) for name, content in archives.items()]
    each += [Target(f"source {name}", {name: content}, _read_sources) for name, content in archives.items()]
    each += [Target(f"table {name}", {name: content}, _read_sources) for name, content in tables.items()]
    each += [
        Target(f"image {name}", {name: content}, lambda folder, name=name: decode((folder / name).read_bytes()))  # type: ignore[misc]
        for name, content in images.items()
    ]
    return each


# --- changes ----------------------------------------------------------------------------------------------------------


def changed(name: str, content: bytes, rng: Random) -> bytes:
    """The file with some changes, of which one in two is within its structure if it has one."""
    for _ in range(int(rng.integers(1, 4))):
        structured = _structured(name, content, rng) if rng.random() < 0.5 else None
        content = _bytes(content, rng) if structured is None else structured
    return content


def _bytes(content: bytes, rng: Random) -> bytes:
    data = bytearray(content)
    at = int(rng.integers(0, len(data) + 1))
    match int(rng.integers(0, 8)):
        case 0 | 1 if at < len(data):
            data[at] ^= 1 << int(rng.integers(0, 8))
        case 2 if at < len(data):
            data[at] = int(rng.integers(0, 256))
        case 3:
            del data[at:]
        case 4:
            del data[at : at + int(rng.integers(1, 64))]
        case 5:
            data[at:at] = rng.bytes(int(rng.integers(1, 64)))
        case 6:
            size = int(rng.choice([1, 2, 4, 8]))
            word = int(rng.choice([0, 1, 127, 128, 255])) if size == 1 else int(rng.choice([0, 1, 2**15, 2**16 - 1]))
            data[at : at + size] = (word << 8 * (size - 1) // 2 & (1 << 8 * size) - 1).to_bytes(size, "little")
        case _:
            end = int(rng.integers(0, len(data) + 1))
            data[at:at] = data[min(at, end) : max(at, end)][:4096]
    return bytes(data)


def _structured(name: str, content: bytes, rng: Random) -> bytes | None:
    """The file with a changed value in its JSON, YAML or header; None if it has none that can be read."""
    try:
        if name.endswith(".json"):
            return json.dumps(_tree(json.loads(content), rng)).encode("utf-8", "surrogatepass")
        if name.endswith(".yaml"):
            return yaml.safe_dump(_tree(yaml.safe_load(content), rng)).encode("utf-8", "surrogatepass")
        if name.endswith(".safetensors"):
            return _safetensors(content, rng)
        if name.endswith(".npy"):
            return _npy(content, rng)
        if name.endswith(".csv"):
            return _csv(content, rng)
    except (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError, RecursionError, OverflowError):
        pass
    return None


def _tree(value: Any, rng: Random) -> Any:
    """A copy with one value, key or item changed, at a random depth."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = list(value)[int(rng.integers(len(value)))]
        copy = dict(value)
        match int(rng.integers(0, 8)):
            case 0:
                del copy[key]
            case 1:
                copy[str(rng.choice(["x", "", "hydra", "_target_", "é", "name"]))] = _odd(rng)
            case _:
                copy[key] = _tree(value[key], rng)
        return copy
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = int(rng.integers(len(value)))
        match int(rng.integers(0, 6)):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value[:at] + [value[at]] * 3 + value[at:]
            case _:
                return [*value[:at], _tree(value[at], rng), *value[at + 1 :]]
    return _odd(rng)


def _odd(rng: Random) -> Any:
    return ODD[int(rng.integers(len(ODD)))]


def _safetensors(content: bytes, rng: Random) -> bytes:
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    metadata = header.get("__metadata__", {})
    match int(rng.integers(0, 4)):
        case 0 | 1 if "about" in metadata:
            metadata["about"] = json.dumps(_tree(json.loads(metadata["about"]), rng))
            if rng.random() < 0.9:
                metadata.pop("sha256", None)  # as in a file of an earlier version: the rest is not shielded by it
        case 2:
            name = list(header)[int(rng.integers(len(header)))]
            if name != "__metadata__":
                header[name]["dtype"] = str(
                    rng.choice(["BF16", "F8_E4M3", "F8_E5M2", "I64", "F16", "BOOL", "F64", "X"])
                )
            metadata.pop("sha256", None)
        case _:
            header = _tree(header, rng)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def _npy(content: bytes, rng: Random) -> bytes:
    end = 10 + int.from_bytes(content[8:10], "little")
    shapes = [
        "()",
        "(24,)",
        "(10**15, 8, 8, 1)",
        f"({10**15},)",
        "(-1,)",
        "(0,)",
        "(24, 8, 8, 1)",
        "[24]",
        "(24",
        "(1.5,)",
    ]
    kinds = ["'|u1'", "'<f4'", "'|O'", "'<U7'", "'>i8'", "'|b1'", "[('a', '<i4')]", "'M8[s]'", "'x'", "None", "'|V8'"]
    header = (
        f"{{'descr': {rng.choice(kinds)}, 'fortran_order': {rng.choice(['False', 'True', '7'])}, "
        f"'shape': {rng.choice(shapes)}{rng.choice([', ', ', x: 1', ''])}}}"
    ).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return content[:8] + len(header).to_bytes(2, "little") + header + content[end:]


def _csv(content: bytes, rng: Random) -> bytes:
    rows = [line.split(",") for line in content.decode().split("\n")]
    row = rows[int(rng.integers(len(rows)))]
    row[int(rng.integers(len(row)))] = str(_odd(rng))
    return "\n".join(map(",".join, rows)).encode("utf-8", "surrogatepass")


# --- the run ----------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """Of one input."""

    target: str
    number: int
    kind: str  # read, refused, or the fault's type
    trace: str = ""
    seconds: float = 0.0


def attempt(target: Target, number: int, place: Path) -> Outcome:
    """Make the input with this number in the folder `place`, and read it."""
    rng = np.random.default_rng([number, len(target.name), *target.name.encode()])
    shutil.rmtree(place, ignore_errors=True)
    chosen = list(target.files)[int(rng.integers(len(target.files)))]
    for name, content in target.files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(changed(name, content, rng) if name == chosen else content)
    started = time.perf_counter()
    kind, trace = "read", ""
    try:
        with redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            target.use(place)
    except OWN as error:
        kind = "refused" if "\n" not in str(error) else "several lines"
    except Exception as error:
        kind, trace = type(error).__name__, traceback.format_exc()
    return Outcome(target.name, number, kind, trace, time.perf_counter() - started)


def outcomes(numbers: range, chosen: Callable[[Target], bool] = lambda target: True) -> Iterator[Outcome]:
    """The outcomes of these inputs of every chosen target."""
    with tempfile.TemporaryDirectory() as name:
        for target in filter(chosen, targets()):
            for number in numbers:
                yield attempt(target, number, Path(name) / "x" / "y")


def _part(numbers: range, name: str, limit: int) -> tuple[Counter[tuple[str, str]], dict[str, Outcome], float, int]:
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    counts: Counter[tuple[str, str]] = Counter()
    faults: dict[str, Outcome] = {}
    slowest = 0.0
    for outcome in outcomes(numbers, lambda target: target.name.startswith(name)):
        counts[outcome.target, outcome.kind if outcome.kind in ("read", "refused") else "fault"] += 1
        slowest = max(slowest, outcome.seconds)
        if outcome.kind not in ("read", "refused"):
            last = outcome.trace.strip().splitlines()[-3:] if outcome.trace else [outcome.kind]
            text = re.sub(r"\d+|'.*?'", "#", " ".join(" ".join(last).split()))
            faults.setdefault(f"{outcome.target}: {text}", outcome)
    return counts, faults, slowest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> int:
    """Print a table of the outcomes, and each fault once; 1 if there is any."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=main.__doc__)
    parser.add_argument("--inputs", type=int, default=1000, help="of each target")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--target", default="", help="the targets whose name begins so")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--memory", type=int, default=3, help="GiB of address space for each process")
    parser.add_argument("--trace", action="store_true", help="the stack trace of each fault")
    chosen = parser.parse_args()
    numbers = range(chosen.first, chosen.first + chosen.inputs)
    parts = [numbers[start :: chosen.processes] for start in range(chosen.processes)]
    with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool:
        found = pool.starmap(_part, [(part, chosen.target, chosen.memory << 30) for part in parts])
    counts: Counter[tuple[str, str]] = sum((part[0] for part in found), Counter())
    names = list(dict.fromkeys(target for target, _ in counts))
    print(f"{'target':<26}{'inputs':>10}{'read':>10}{'refused':>10}{'faults':>10}")
    for name in [*names, "all"]:
        row = [sum(count for (target, each), count in counts.items() if name in (target, "all") and kind in (each, ""))
               for kind in ("", "read", "refused", "fault")]  # fmt: skip
        print(f"{name:<26}" + "".join(f"{number:>10,}" for number in row))
    print(
        f"slowest {max(part[2] for part in found):.2f} s, most memory {max(part[3] for part in found) / 1024:,.0f} MiB"
    )
    faults: dict[str, Outcome] = {key: outcome for part in found for key, outcome in part[1].items()}
    for key, outcome in sorted(faults.items()):
        print(f"input {outcome.number} of {key[:300]}" + (f"\n{outcome.trace}" if chosen.trace else ""))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
