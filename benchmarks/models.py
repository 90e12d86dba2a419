"""Models by the name of their file in `conf/model/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from foundation.config import config_dir
from foundation.errors import UserError


def model_config(name: str) -> dict[str, Any]:
    """The model's description as plain mappings and lists. Raises `UserError` for an unknown name."""
    folder = config_dir() / "model"
    if not (folder / f"{name}.yaml").is_file():
        known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        raise UserError(f"unknown model '{name}' in benchmark.models; choose of: {known}")
    config = OmegaConf.create({"model": OmegaConf.load(folder / f"{name}.yaml")})  # widths refer to `model.widths`
    plain = OmegaConf.to_container(config.model, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def without_dropout(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same model without its dropout layers, so that every pass gives the same result."""
    return {**config, "layers": _kept(config["layers"])}


def _kept(entries: list[Any]) -> list[Any]:
    kept = []
    for entry in entries:
        name, arguments = next(iter(entry.items())) if isinstance(entry, dict) else (entry, {})
        if name == "dropout":
            continue
        if name in ("repeat", "residual"):
            inner = {key: _kept(value) if isinstance(value, list) else value for key, value in arguments.items()}
            kept.append({name: inner})
        else:
            kept.append(entry)
    return kept
