"""The formats of an export by name, and the steps that are the same for all: write, compare, keep or remove."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.exporting.keras_file import KerasModel, write_keras
from cnn.exporting.model_folder import write_model_folder
from cnn.exporting.network import Portable
from cnn.exporting.onnx_file import OnnxSession, write_onnx
from cnn.exporting.opening import open_network
from cnn.exporting.page_faces import FaceDetector
from cnn.exporting.page_file import Example, NodeEngine, write_page
from cnn.exporting.parity import Parity, Predict, check_inputs, compare, softmax
from cnn.exporting.torch_module import TorchModule, write_torch
from foundation.errors import UserError
from foundation.files import atomic_folder, atomic_path


@dataclass(frozen=True)
class Export:
    """The options of an export."""

    format: str | None = None  # of `FORMATS`; None: by the ending of the output
    weights: str = "float32"  # the type in which weights are stored: float32, float16 or bfloat16
    check: bool = True  # compare with our own output
    images: NDArray[Any] | None = None  # more inputs for the comparison, (n, h, w, c)
    examples: Sequence[Example] = ()  # images that a page offers
    detector: FaceDetector | None = None  # of faces, for a page
    config: Mapping[str, Any] | None = None  # the groups `data` and `merge` of the run, for a folder


@dataclass(frozen=True)
class _Format:
    suffix: str  # of its file; '' for a folder
    write: Callable[[Portable, Path, Export], Parity | None]


def export_network(network: Portable, output: Path, options: Export) -> Parity | None:
    """Write `network` to `output`; the parity with our own output, None without a check.

    Raises `UserError` for an unknown format, a network that the format cannot have, a missing package, and an output
    that differs from ours by more than the tolerance. Then nothing has been written.
    """
    chosen = FORMATS[format_of(output, options.format)]
    if output.suffix.lower() != chosen.suffix and (chosen.suffix or output.is_file()):
        kind = f"a file that ends in {chosen.suffix}" if chosen.suffix else "a folder"
        raise UserError(f"output={output}: this format is {kind}")
    if chosen.suffix and output.is_dir():
        raise UserError(f"output={output} is a folder: give the name of a file")
    return chosen.write(network.rounded(options.weights), output, options)


def format_of(output: Path, given: str | None) -> str:
    """The name of the format: `given`, else by the ending of the output. Raises `UserError` for an unknown one."""
    if given is not None:
        if given not in FORMATS:
            raise UserError(f"format is {given!r}; choose one of: {', '.join(FORMATS)}")
        return given
    for name, each in FORMATS.items():
        if output.suffix.lower() == each.suffix:
            return name
    endings = ", ".join(f"{each.suffix or 'none'} ({name})" for name, each in FORMATS.items())
    raise UserError(f"output={output}: no format has the ending {output.suffix!r}; give format=, or one of: {endings}")


def _onnx(network: Portable, output: Path, options: Export) -> Parity | None:
    return _in_one_file(network, output, options, write_onnx, OnnxSession)


def _keras(network: Portable, output: Path, options: Export) -> Parity | None:
    return _in_one_file(network, output, options, write_keras, KerasModel)


def _in_one_file(
    network: Portable,
    output: Path,
    options: Export,
    write: Callable[[Portable, Path, Mapping[str, str]], object],
    read: Callable[[Path], OnnxSession | KerasModel],
) -> Parity | None:
    """Write a file, and again with the result of its comparison."""
    with atomic_path(output) as temporary:
        write(network, temporary, _metadata(network, None))
        if not options.check:
            return None
        other = read(temporary)
        parity = _compare(network, other.referee, other.logits, options)
        write(network, temporary, _metadata(network, parity))
    return parity


def _torch(network: Portable, output: Path, options: Export) -> Parity | None:
    parity = None
    if options.check:
        with tempfile.TemporaryDirectory() as folder:
            module = TorchModule(network, Path(folder))
            parity = _compare(network, module.referee, module.logits, options)
    write_torch(network, output, parity, _metadata(network, parity))
    return parity


def _page(network: Portable, output: Path, options: Export) -> Parity | None:
    parity = None
    if options.check:
        try:
            engine = NodeEngine(network)
        except LookupError:  # the page compares itself whenever it is opened
            parity = None
        else:
            parity = _compare(network, engine.referee, engine.logits, options)
    with atomic_path(output) as temporary:
        write_page(network, temporary, parity, options.examples, options.detector)
    return parity


def _folder(network: Portable, output: Path, options: Export) -> Parity | None:
    if output.exists() and any(output.iterdir()) and not (output / "model.json").exists():
        raise UserError(f"output={output} has other files, which would be replaced: choose a new folder")
    with atomic_folder(output) as temporary:
        write_model_folder(network, temporary, None, options.config)
        if not options.check:
            return None
        again = open_network(temporary, network.ops)
        parity = _compare(network, "the folder, read again,", again.logits, options)
        write_model_folder(network, temporary, parity, options.config)
    return parity


def _compare(network: Portable, referee: str, predict: Predict, options: Export) -> Parity:
    """The parity with our own output with rounded weights, and how far that is from the output without."""
    parity = compare(network, referee, predict, options.images)
    if network.exact is None:
        return parity
    inputs = check_inputs(network)
    change = np.abs(softmax(network.logits(inputs)) - softmax(network.exact.logits(inputs))).max()
    return replace(parity, rounding=float(change))


def _metadata(network: Portable, parity: Parity | None) -> dict[str, str]:
    """What is known of the network, as text."""
    metadata = network.about.get("metadata", {})
    known = {
        "name": network.name,
        "weights": network.weights,
        "epoch": metadata.get("epoch"),
        "seed": metadata.get("seed"),
        "pack_hash": metadata.get("pack_hash"),
        "parity": "not compared" if parity is None else json.dumps(parity.as_dict()),
    }
    return {key: str(value) for key, value in known.items() if value is not None}


FORMATS = {
    "onnx": _Format(".onnx", _onnx),
    "torch": _Format(".py", _torch),
    "keras": _Format(".keras", _keras),
    "page": _Format(".html", _page),
    "safetensors": _Format("", _folder),
}
