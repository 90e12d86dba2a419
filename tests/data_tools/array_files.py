"""MNIST's and CIFAR's files, tiny, in the published layouts."""

import gzip
import pickle
import struct

import numpy as np

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def drawn(count: int, shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return struct.pack(">BBBB", 0, 0, kind, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist_arrays(side: int = 28, train: int = 30, test: int = 20) -> dict[str, np.ndarray]:
    """By the stems of the files; every class in both splits."""
    return {
        "train-images": drawn(train, (side, side), 0),
        "train-labels": (np.arange(train) % 10).astype(np.uint8),
        "t10k-images": drawn(test, (side, side), 1),
        "t10k-labels": (np.arange(test) % 10).astype(np.uint8),
    }


def mnist_files(style: str = "-idx{}-ubyte.gz", **changed: np.ndarray) -> dict[str, bytes]:
    files = {}
    for stem, array in (mnist_arrays() | changed).items():
        name = stem + style.format(array.ndim)
        files[name] = gzip.compress(idx(array)) if name.endswith(".gz") else idx(array)
    return files


def cifar_arrays(batches: int = 5, rows: int = 10) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Rows of 3,072 bytes, and labels, of every batch."""
    names = [f"data_batch_{number + 1}" for number in range(batches)] + ["test_batch"]
    return {name: (drawn(rows, (3072,), seed), [i % 10 for i in range(rows)]) for seed, name in enumerate(names)}


def cifar_binary() -> dict[str, bytes]:
    files = {
        f"cifar-10-batches-bin/{name}.bin": b"".join(
            bytes([label]) + row.tobytes() for row, label in zip(*batch, strict=True)
        )
        for name, batch in cifar_arrays().items()
    }
    return files | {"cifar-10-batches-bin/batches.meta.txt": ("\n".join(NAMES) + "\n\n").encode(),
                    "cifar-10-batches-bin/readme.html": b"<html>"}  # fmt: skip


def cifar_python(protocol: int = 2) -> dict[str, bytes]:
    """The batches as pickles, with keys of bytes as Python 3 sees those of Python 2."""
    files = {}
    for name, (rows, labels) in cifar_arrays().items():
        batch = {b"batch_label": b"a batch", b"labels": labels, b"data": rows, b"filenames": [b"x.png"] * len(labels)}
        files[f"cifar-10-batches-py/{name}"] = pickle.dumps(batch, protocol)
    meta = {b"num_cases_per_batch": 10, b"label_names": [name.encode() for name in NAMES], b"num_vis": 3072}
    return files | {"cifar-10-batches-py/batches.meta": pickle.dumps(meta, protocol),
                    "cifar-10-batches-py/readme.html": b"<html>"}  # fmt: skip
