"""Tiles that were the fastest of all on a device, for the products that were timed there.

`python -m benchmarks.gpu.tiles --keep FILE` writes them to `measured_tiles.json`. Other products get their tile by the
estimate. The number of parts of a sum always follows from the shape, so a measured tile changes no result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

from cnn.kernels.families.tensor_plan import TensorProduct, estimate
from cnn.kernels.families.tensor_rules import TensorTile
from cnn.kernels.tile_choice import Device
from foundation.errors import UserError
from foundation.files import read_json

FILE = Path(__file__).with_name("measured_tiles.json")


def device_key(device: Device) -> str:
    """What devices of one kind have in common: 'capability 90, 132 multiprocessors'."""
    return f"capability {device.capability}, {device.multiprocessors} multiprocessors"


def product_key(product: TensorProduct) -> str:
    """The values of its fields, in their order."""
    return " ".join(map(str, astuple(product)))


def product_of(key: str) -> TensorProduct:
    """The product of which `key` is the key. Raises ValueError for a text that is none."""
    function, element, *numbers, may_split = key.split()
    rows, n, c, taps = map(int, numbers)
    found = TensorProduct(function, element, rows, n, c, taps, may_split == "True")
    if product_key(found) != key:
        raise ValueError(key)
    return found


def read_tiles(path: Path, device: Device) -> dict[TensorProduct, TensorTile]:
    """The tiles that were measured on such a device; none without the file.

    Raises `UserError` for a damaged file, and for a tile that does not exist or cannot compute the product.
    """
    if not path.exists():
        return {}
    remedy = f"write it anew (python -m benchmarks.gpu.tiles --keep FILE) or remove it: {path}"
    record = read_json(path)
    kept = record.get(device_key(device), {}) if isinstance(record, dict) else None
    tiles: Any = kept.get("tiles", {}) if isinstance(kept, Mapping) else None
    if not isinstance(tiles, Mapping):
        raise UserError(f"the file of measured tiles is damaged; {remedy}")
    found = {}
    for key, suffix in tiles.items():
        try:
            product = product_of(key)
        except ValueError as error:
            raise UserError(f"the file of measured tiles has no product '{key}'; {remedy}") from error
        tile = next((tile for tile in product.candidates(device) if tile.suffix == suffix), None)
        if tile is None:
            raise UserError(f"the file of measured tiles has {suffix} for '{key}', which it cannot compute; {remedy}")
        found[product] = tile
    return found


class MeasuredTiles:
    """The plan that takes the measured tile, and for products that were not measured that of the estimate.

    The file is read when the first product is asked for.
    """

    def __init__(self, path: Path = FILE) -> None:
        self.path = path
        self._tiles: dict[Device, dict[TensorProduct, TensorTile]] = {}

    def __call__(self, product: TensorProduct, device: Device) -> tuple[TensorTile, int]:
        """As `estimate`."""
        if device not in self._tiles:
            self._tiles[device] = read_tiles(self.path, device)
        tile, splits = estimate(product, device)
        return self._tiles[device].get(product, tile), splits
