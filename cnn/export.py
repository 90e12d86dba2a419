"""`python -m cnn.export run=FOLDER output=FILE`: a trained network as a file of another library, compared with ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from cnn.assembly import groups, ops_of
from cnn.exporting.formats import Export, export_network, format_of
from cnn.exporting.network import Portable
from cnn.exporting.opening import open_network
from cnn.page_extras import detector_for, drawn_faces
from cnn.run_config import config_path, read_run_config
from cnn.training.run_folder import run_folder
from data_tools.reading.images import ImageError, decode_file, fit
from foundation.entry import entry
from foundation.errors import UserError
from foundation.schema import UNSET

_MOST_IMAGES = 256


@dataclass
class ExportSettings:
    """The options outside the groups."""

    run: str = UNSET
    output: str = UNSET
    format: str | None = None
    weights: str = "float32"
    images: str | None = None
    check: bool = True
    faces: str = "auto"


@entry("export", groups("backend", top=ExportSettings))
def main(config: DictConfig) -> None:
    """Write the file, and print how far its output is from ours."""
    output = Path(config.output)
    name = format_of(output, config.format)
    network = open_network(Path(config.run), ops_of(config))
    options = Export(
        format=name,
        weights=config.weights,
        check=config.check,
        images=None if config.images is None else _images(Path(config.images), network),
        detector=detector_for(network, config.faces) if name == "page" else None,
        examples=drawn_faces(network.classes) if name == "page" else (),
        config=_recorded(Path(config.run)) if name == "safetensors" else None,
    )
    parity = export_network(network, output, options)
    if parity is not None:
        print(f"Compared: {parity}.")
    elif name == "page" and config.check:
        print("Not compared now, because Node is not installed: the page compares itself whenever it is opened.")
    else:
        print("Not compared with our own output.")
    print(f"Written to {output}: {_bytes(output):,} bytes in all")


def _images(given: Path, network: Portable) -> NDArray[Any]:
    """The images of a folder, or one image, in the network's size. Raises `UserError` if there are none."""
    if len(network.shape) != 3 or not network.scaling.of_bytes or network.shape[2] not in (1, 3):
        raise UserError(f"images={given}: this network does not take images of files")
    paths = [given] if given.is_file() else sorted(path for path in given.glob("*") if path.is_file())
    found = []
    for path in paths[:_MOST_IMAGES]:
        try:
            found.append(fit(decode_file(path), (network.shape[0], network.shape[1]), network.shape[2]))
        except ImageError as error:
            print(f"set aside: {path}: {error}")
    if not found:
        raise UserError(f"images={given}: no image was found there")
    return np.stack(found)


def _recorded(run: Path) -> dict[str, Any] | None:
    """The groups `data` and `merge` of the run's config, if it has one."""
    folder = run_folder(run)
    if not config_path(folder).is_file():
        return None
    found: dict[str, Any] = OmegaConf.to_container(read_run_config(folder, ("data", "merge")))  # type: ignore[assignment]
    return found


def _bytes(output: Path) -> int:
    weights = output.with_suffix(".safetensors")  # beside a Python file
    paths = [output, weights] if output.suffix == ".py" and weights.exists() else [output]
    files = [path for each in paths for path in (each.rglob("*") if each.is_dir() else [each])]
    return sum(path.stat().st_size for path in files if path.is_file())


if __name__ == "__main__":
    main()
