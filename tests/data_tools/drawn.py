"""Tiny data sets drawn on the spot, and a pack opened for looking at."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from scipy import ndimage

from data_tools.prepare import prepare
from data_tools.reading.manifest import Row, read_manifest
from foundation.files import read_json

CLASSES = ["cat", "dog"]


def pixels(seed: int, size: int = 8, channels: int = 1) -> np.ndarray:
    shape = (size, size) if channels == 1 else (size, size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(array: np.ndarray, kind: str = "png", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def png(seed: int, **options: object) -> bytes:
    return encoded(pixels(seed), **options)


def files_of(splits: dict[str, int], first: int = 0) -> dict[str, bytes]:
    """`splits[folder]` different images of each class under each folder; `first` keeps two sets apart."""
    files = {}
    for folder, number in splits.items():
        for name in CLASSES:
            for index in range(number):
                path = "/".join(filter(None, (folder, name, f"{index}.png")))
                files[path] = png(first + len(files))
    return files


def write_tree(folder: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def write_tar(path: Path, files: dict[str, bytes], more: tuple[tarfile.TarInfo, ...] = ()) -> None:
    """A tar compressed as its suffix says, with members that have no content after the files."""
    kind = {"gz": "gz", "tgz": "gz", "xz": "xz", "bz2": "bz2"}.get(path.name.rsplit(".", 1)[-1], "")
    with tarfile.open(path, f"w:{kind}") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info)


def configured(root: Path, *sources: str, data: dict | None = None, **merge: object) -> DictConfig:
    """The two config groups for sources below `root`; packs go beside it. `merge` overrides the dataclass defaults."""
    groups = {
        "data": {
            "name": "tiny",
            "root": str(root),
            "pack_dir": str(root.parent / "packs"),
            "image_size": 8,
            "channels": 1,
            "classes": CLASSES,
            "audit": "pixels",  # the search for more takes its time
            "sources": {name: {"kind": "files"} for name in sources},
            **(data or {}),
        },
        "merge": merge,
    }
    return OmegaConf.create(groups)


class Pack:
    """What lies in a pack folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = np.load(folder / "images.npy")
        self.labels = np.load(folder / "labels.npy")
        self.splits = np.load(folder / "splits.npy")
        self.rows = read_manifest(folder / "manifest.csv")
        self.json = read_json(folder / "pack.json")
        self.by_id = {row.id: row for row in self.rows}

    def json_beside(self, name: str) -> dict:
        """Another JSON file of the pack."""
        return read_json(self.folder / name)

    def where(self, **values: object) -> list[Row]:
        """Rows whose columns have these values."""
        return [row for row in self.rows if all(getattr(row, key) == value for key, value in values.items())]


def prepared(config: DictConfig) -> Pack:
    return Pack(prepare(config))


def photograph(seed: int, size: int = 48) -> np.ndarray:
    """Coarse and fine structure everywhere, as in a photograph: what warps leave recognisable. uint8 (size, size)."""
    rng = np.random.default_rng(seed)
    layers = [ndimage.gaussian_filter(rng.normal(size=(size, size)), width) * width for width in (1.0, 2.0, 4.0, 8.0)]
    field = sum(layer / layer.std() * weight for layer, weight in zip(layers, (0.6, 0.8, 1.0, 1.0), strict=True))
    field = (field - field.min()) / (field.max() - field.min())
    return np.rint(20 + 215 * field).astype(np.uint8)


def turned(image: np.ndarray, degrees: float = 0.0, zoom: float = 1.0, move: float = 0.0) -> np.ndarray:
    """Seen from its middle; what comes into view repeats the edge."""
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    middle = (np.array(image.shape) - 1) / 2
    offset = middle - matrix @ middle + move
    return np.rint(
        ndimage.affine_transform(image.astype(float), matrix, offset, order=1, mode="nearest").clip(0, 255)
    ).astype(np.uint8)
