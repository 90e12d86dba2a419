"""Models by the name of their file in `conf/model/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foundation.errors import UserError
from foundation.plain_config import read_group


def model_config(name: str, **overrides: Any) -> dict[str, Any]:
    """The model's description as plain mappings and lists. Raises `UserError` for an unknown name."""
    try:
        return read_group("model", name, **overrides)
    except UserError as error:
        raise UserError(f"benchmark.models: {error}") from error


def without_dropout(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same model without dropout and stochastic depth, so that every pass gives the same result."""
    config = {key: value for key, value in config.items() if key != "drop_path"}
    return {**config, "layers": _kept(config["layers"])}


def _kept(entries: list[Any]) -> list[Any]:
    kept = []
    for entry in entries:
        name, arguments = next(iter(entry.items())) if isinstance(entry, dict) else (entry, {})
        if name in ("dropout", "drop_path"):
            continue
        if name in ("repeat", "residual"):
            inner = {key: _kept(value) if isinstance(value, list) else value for key, value in arguments.items()}
            inner.pop("drop_path", None)
            kept.append({name: inner})
        else:
            kept.append(entry)
    return kept
