"""Writes a network as a folder to share: weights, a card, and what the commands need to use it like a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]  # the parser that OmegaConf uses

from cnn.exporting.card import card_text
from cnn.exporting.network import Portable
from cnn.exporting.parity import Parity
from cnn.models.builder import kind_of
from cnn.models.graph import INPUT
from cnn.training.checkpoint import save_checkpoint
from cnn.training.run_folder import MODEL
from foundation.errors import UserError
from foundation.files import write_json, write_text

CARD, CONFIG, DESCRIPTION = "card.md", "config.yaml", "model.json"


def write_model_folder(
    network: Portable, folder: Path, parity: Parity | None, config: Mapping[str, Any] | None = None
) -> None:
    """Write the files into `folder`; `config` has the groups `data` and `merge`, for `cnn.evaluate`.

    Raises `UserError` for weights in bfloat16, which NumPy does not have.
    """
    if network.weights == "bfloat16":
        raise UserError("weights=bfloat16: a folder for this project has float32 or float16")
    kind = np.dtype(network.weights)
    metadata = {**_metadata(network), "results": _results(network), "weights": network.weights}
    if parity is not None:
        metadata["parity"] = parity.as_dict()
    save_checkpoint(folder / MODEL, {name: each.astype(kind) for name, each in network.tensors.items()}, metadata)
    write_json(folder / DESCRIPTION, description(network))
    write_text(folder / CARD, card_text(network, parity))
    if config is not None:
        write_text(folder / CONFIG, yaml.safe_dump(shareable(config), sort_keys=False))


def description(network: Portable) -> dict[str, Any]:
    """The graph in types of JSON, with which another program can compute what the weights are for."""
    nodes = network.graph.nodes
    return {
        "name": network.name,
        "classes": list(network.classes),
        "input": {"shape": list(network.shape), "type": network.pixel_type},
        "pixel_scale": network.scaling.scale.tolist(),
        "pixel_offset": network.scaling.offset.tolist(),
        "layout": "images (n, h, w, c), filters (kh, kw, c / groups, filters), dense weights (inputs, units)",
        "nodes": [
            {
                "name": node.name,
                "layer": kind_of(node.layer),
                "arguments": json.loads(json.dumps(node.layer.arguments())),
                "inputs": ["input" if given == INPUT else nodes[given].name for given in node.inputs],
                "output_shape": list(node.shape),
            }
            for node in nodes
        ],
    }


def shareable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config's groups without places on the machine of the training, which are the defaults instead."""
    found = json.loads(json.dumps({group: config[group] for group in ("data", "merge") if group in config}))
    if isinstance(data := found.get("data"), dict):
        data |= {"root": "data", "pack_dir": "packs"}
    return found


def _metadata(network: Portable) -> dict[str, Any]:
    """The checkpoint's metadata without places on the machine of the training."""
    found = dict(network.about.get("metadata", {}))
    if isinstance(start := found.get("start"), dict):
        found["start"] = {key: value for key, value in start.items() if key != "run"}
    if found.get("start_from") is not None:
        found["start_from"] = Path(str(found["start_from"])).name
    return found


def _results(network: Portable) -> dict[str, Any]:
    found = dict(network.about.get("results", {}))
    if isinstance(provenance := found.get("provenance"), dict):
        found["provenance"] = {key: value for key, value in provenance.items() if key != "machine"}
    return found
