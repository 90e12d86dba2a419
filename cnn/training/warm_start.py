"""Begins a run with the weights of another one, for fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnn.models import Model
from cnn.training.checkpoint import file_digest, load_checkpoint
from cnn.training.run_folder import network_file
from foundation.errors import UserError


def check_start(folder: str | None, freeze: str | None) -> None:
    """Raise `UserError` for a folder without a run, and for frozen weights that no run has trained."""
    if folder is not None:
        load_checkpoint(network_file(Path(folder)))
    elif freeze is not None:
        raise UserError(f"freeze={freeze} keeps weights as they are, but they would be random: give start_from=RUN")


def start_from(model: Model, folder: str, classes: Sequence[str]) -> dict[str, Any]:
    """In place: give `model` the weights and running statistics of the best epoch of the run in `folder`.

    If that run had other classes than `classes`, or another order of them, the last dense layer keeps the weights that
    it has. Raises `UserError` if the file is missing or damaged, or if the networks differ in any other layer. Returns
    `run`, `epoch`, the `sha256` of the file, and `new_layer`, the name of that dense layer or None.
    """
    path = network_file(Path(folder))
    tensors, metadata = load_checkpoint(path)
    head = None
    if list(metadata.get("classes") or ()) != list(classes):
        if model.graph.head is None:
            raise UserError(
                f"start_from={folder}: that run has other classes, and the model has no dense layer to renew"
            )
        head = model.graph.nodes[model.graph.head].name
        own = {name: tensor for name, tensor in model.state().items() if name.startswith(f"{head}.")}
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{head}.")} | own
    model.load_state(tensors, str(path))
    return {"run": folder, "epoch": metadata.get("epoch"), "sha256": file_digest(path), "new_layer": head}


def started_line(start: dict[str, Any]) -> str:
    """What `start_from` returned as a sentence for the person."""
    new = f"; {start['new_layer']} is new, since the classes differ" if start["new_layer"] else ""
    return f"began with the weights of {start['run']}, epoch {start['epoch']}{new}"
