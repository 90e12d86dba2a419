"""`python -m benchmarks.duplicate_scale`: time and memory of the search for near-duplicates by number of images.

Each size runs in a separate process, for its own peak of memory. The images are the first ones of the sources in a
pseudo-random order, so that each size contains the smaller ones.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.data.collecting import collect
from data_tools.duplicates.assign import find_groups
from data_tools.duplicates.levels import AUGMENTED


def one_size(name: str, root: str, number: int, workers: int | None) -> dict[str, object]:
    """Seconds of reading and of each step of the search, and the peak of memory in MB."""
    begun = time.perf_counter()
    collection, config = collect(name, root, workers)
    rows = collection.rows
    rows.sort(key=lambda row: hashlib.sha256(row.id.encode()).digest())
    rows = rows[:number]
    images = {row.id: collection.thumbnails[row.id] for row in rows}
    del collection
    steps: list[tuple[str, float]] = [("reading", begun)]

    def report(what: str, done: int, total: int) -> None:
        step = what.split(":", maxsplit=1)[0]
        if step != steps[-1][0]:
            steps.append((step, time.perf_counter()))

    steps.append(("hashes", time.perf_counter()))
    found = find_groups(rows, images, AUGMENTED, config, workers, None, report)
    steps.append(("end", time.perf_counter()))
    seconds = {name: round(end - at, 1) for (name, at), (_, end) in itertools.pairwise(steps)}
    return {
        "images": len(rows),
        "distinct images": len({row.pixels_sha256 for row in rows}),
        "groups": len(set(found.groups[AUGMENTED].values())),
        "seconds": seconds,
        "seconds of the search": round(sum(value for name, value in seconds.items() if name != "reading"), 1),
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> int:
    """Print one line of JSON per size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data")
    parser.add_argument("--data", default="fer2013_fed", help="of conf/data/")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 20_000, 40_000, 72_644])
    parser.add_argument("--workers", type=int)
    parser.add_argument("--this", type=int, help="measure this size here instead of each in a process")
    arguments = parser.parse_args()
    if arguments.this:
        print(json.dumps(one_size(arguments.data, arguments.root, arguments.this, arguments.workers)), flush=True)
        return 0
    for size in arguments.sizes:
        workers = ["--workers", str(arguments.workers)] if arguments.workers else []
        options = ["--root", arguments.root, "--data", arguments.data, "--this", str(size), *workers]
        project = Path(__file__).resolve().parents[1]
        subprocess.run([sys.executable, "-m", "benchmarks.duplicate_scale", *options], check=True, cwd=project)
    return 0


if __name__ == "__main__":
    sys.exit(main())
