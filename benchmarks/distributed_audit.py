"""`python -m benchmarks.distributed_audit`: what an audit of millions of images takes, and its confirmations on Ray.

Three measurements on thumbnails of a data set, with copies of some of them:

- confirmations: the candidate pairs are compared here, and by Ray's workers. A task gets the pairs of a chunk and the
  thumbnails of their images alone, so that no worker holds the collection. The results must be equal, bit by bit;
- candidates: FAISS's inverted file with product quantisation (`IndexIVFPQ`, Jegou, Douze & Schmid 2011) in shards, each
  of which a machine could hold; how many of the exact nearest neighbours it finds, and its rate;
- the cost of an audit of `--of` images, from these rates.

Ray is the extra `ray`; without it that part is left out.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import math
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.data.collecting import collect
from data_tools.duplicates.alignment import Aligner
from data_tools.duplicates.candidates import Candidates
from data_tools.duplicates.embedding import Embedding
from data_tools.duplicates.search import confirmed_rows
from data_tools.duplicates.settings import SearchConfig
from data_tools.duplicates.thumbnails import grey, is_blank

_CHUNK = 512  # pairs of a task: seconds of work, megabytes of thumbnails
_BYTES = 16  # of a quantised vector
_IDENTITY = 8  # bytes of the number beside it


def thumbnails_of(data: str, root: str, number: int, seed: int = 0) -> tuple[NDArray[np.uint8], SearchConfig]:
    """That many thumbnails (n, 48, 48), a twentieth of them brightened copies of others."""
    collection, config = collect(data, root)
    rows = sorted(collection.rows, key=lambda row: row.pixels_sha256)[:number]
    images = grey([collection.thumbnails[row.id] for row in rows])
    images = images[~is_blank(images, config.blank_below)]
    copies = np.random.default_rng(seed).choice(len(images), len(images) // 20, replace=False)
    brighter = np.clip(images[copies].astype(np.int16) + 12, 0, 255).astype(np.uint8)
    return np.concatenate([images, brighter]), config


def confirmed(
    images: NDArray[np.uint8], config: SearchConfig, pairs: NDArray[np.int32], alike: NDArray[Any]
) -> NDArray[np.float64]:
    """The confirmed ones among `pairs` (m, 3) of `images`, in their order: numbers, mirrored, detail, map."""
    return confirmed_rows(pairs, Aligner(images, config).confirm(pairs, alike))


def tasks(pairs: NDArray[np.int32]) -> Iterator[tuple[slice, NDArray[Any], NDArray[np.int32]]]:
    """For each chunk of the pairs: the numbers of its images, and its pairs by their places among these."""
    for at in range(0, len(pairs), _CHUNK):
        chunk = slice(at, min(at + _CHUNK, len(pairs)))
        numbers, places = np.unique(pairs[chunk, :2], return_inverse=True)
        own = pairs[chunk].copy()
        own[:, :2] = places.reshape(-1, 2)
        yield chunk, numbers, own


def on_ray(
    images: NDArray[np.uint8], config: SearchConfig, pairs: NDArray[np.int32], alike: NDArray[Any], workers: int
) -> tuple[NDArray[np.float64], float]:
    """The same by tasks of Ray, and the seconds without its start."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = importlib.import_module("ray")
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="warning")
    try:
        task = ray.remote(num_cpus=1)(confirmed)
        one = next(tasks(pairs))
        ray.get(
            [task.remote(images[one[1]], config, one[2][:1], alike[:1]) for _ in range(workers)]
        )  # they have started
        begun = time.perf_counter()
        work = list(tasks(pairs))
        parts = ray.get([task.remote(images[numbers], config, own, alike[chunk]) for chunk, numbers, own in work])
        seconds = time.perf_counter() - begun
    finally:
        ray.shutdown()
    found = []
    for (_, numbers, _), part in zip(work, parts, strict=True):
        whole = np.array(part)
        whole[:, :2] = numbers[whole[:, :2].astype(np.int64)]
        found.append(whole)
    return np.concatenate(found), seconds


def shards_of(vectors: NDArray[np.float32], shards: int) -> tuple[list[Any], float]:
    """Inverted files with product quantisation over parts of the vectors, with common centres; seconds of adding."""
    lists = max(1, int(4 * math.sqrt(len(vectors) / shards)))
    dimensions = vectors.shape[1]
    trained = faiss.IndexIVFPQ(faiss.IndexFlatIP(dimensions), dimensions, lists, _BYTES, 8, faiss.METRIC_INNER_PRODUCT)
    trained.cp.min_points_per_centroid = trained.pq.cp.min_points_per_centroid = 1
    trained.train(vectors)
    begun, found = time.perf_counter(), []
    for part in np.array_split(np.arange(len(vectors)), shards):
        index: Any = faiss.clone_index(trained)
        index.nprobe = 48
        index.add_with_ids(vectors[part], part.astype(np.int64))
        found.append(index)
    return found, time.perf_counter() - begun


def nearest(shards: list[Any], queries: NDArray[np.float32], neighbours: int) -> NDArray[np.int64]:
    """The numbers of the most similar vectors over all shards (n, neighbours)."""
    similarities, numbers = zip(*(index.search(queries, neighbours) for index in shards), strict=True)
    merged, ids = np.concatenate(similarities, axis=1), np.concatenate(numbers, axis=1)
    order = np.argsort(-merged, axis=1, kind="stable")[:, :neighbours]
    return np.take_along_axis(ids, order, axis=1)


def main() -> int:
    """Measure, and print; 1 if Ray's result is another."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distributed_audit")
    parser.add_argument("--data", default="fer2013", help="of conf/data/")
    parser.add_argument("--root", default="data")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--of", type=float, default=1e7, help="images of the audit whose cost is computed")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    images, config = thumbnails_of(options.data, options.root, options.images)
    count = len(images)

    embed = Embedding(images)  # fitted once, to a sample
    begun = time.perf_counter()
    vectors = embed(images)[0]
    embedding = (time.perf_counter() - begun) / count
    exact = faiss.IndexFlatIP(vectors.shape[1])
    exact.add(vectors)
    neighbours = config.neighbours + 1
    wanted = exact.search(vectors, neighbours)[1]
    shards, adding = shards_of(vectors, options.shards)
    begun = time.perf_counter()
    found = nearest(shards, vectors, neighbours)
    searching = (time.perf_counter() - begun) / count
    recall = np.mean([len(set(a) & set(b)) / neighbours for a, b in zip(wanted.tolist(), found.tolist(), strict=True)])
    copies = np.arange(count - count // 21, count)
    kept = np.mean([bool((set(wanted[i].tolist()) - {i}) & set(found[i].tolist())) for i in copies.tolist()])
    print(
        f"{count:,} images, {options.shards} shards of IVF-PQ with {_BYTES} bytes a vector: {recall:.3f} of the exact "
        f"{neighbours} nearest, a neighbour for {kept:.3f} of the copies; adding {1e6 * adding / count:.0f} µs, "
        f"searching {1e6 * searching:.0f} µs, embedding {1e6 * embedding:.0f} µs an image, on one core"
    )

    pairs, alike = Candidates(images).nearest(config.neighbours, True)
    begun = time.perf_counter()
    alone = confirmed(images, config, pairs, alike)
    seconds = time.perf_counter() - begun
    rate = 1e6 * seconds / len(pairs)
    print(f"{len(pairs):,} candidates, {len(alone):,} confirmed: {rate:.0f} µs a pair on one core")
    equal = True
    if importlib.util.find_spec("ray") is None:
        print("Ray is not installed (the extra `ray`): no distributed confirmation")
    else:
        together, taken = on_ray(images, config, pairs, alike, options.workers)
        equal = alone.shape == together.shape and bool((alone == together).all())
        print(
            f"by {options.workers} workers of Ray in {taken:.1f} s, by one process in {seconds:.1f} s; the results are "
            + ("equal, bit by bit" if equal else "DIFFERENT")
        )
    cost(options.of, embedding + adding / count, searching * 2, len(pairs) / count * seconds / len(pairs))
    return 0 if equal else 1


def cost(images: float, indexing: float, searching: float, confirming: float) -> None:
    """Core hours and memory for that many images, at these seconds of one core an image.

    Confirmations are measured, and in proportion. A query visits a fixed number of lists, each with the square root of
    the images: so its time grows with that root beyond the size that was measured; this is printed as if it did not.
    """
    hours = [images * each / 3600 for each in (indexing, searching, confirming)]
    memory = images * (_BYTES + _IDENTITY) / 2**30
    print(
        f"{images:,.0f} images: indexing {hours[0]:,.0f}, searching {hours[1]:,.0f}, confirming {hours[2]:,.0f} core "
        f"hours; {memory:.2f} GiB of index in all, {images * 48 * 48 / 2**30:.0f} GiB of thumbnails on disk"
    )


if __name__ == "__main__":
    sys.exit(main())
