"""Converts the options of a caller to the dataclasses of the config groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.training.batches import AugmentSettings
from cnn.training.losses import class_weights as balanced_weights
from cnn.training.optimizers import OPTIMIZERS, AdamSettings, SgdSettings
from cnn.training.schedules import ScheduleSettings
from foundation.config import load_choice, load_group, resolved, typed
from foundation.errors import UserError


def model_config(model: Any, vectors: bool) -> dict[str, Any]:
    """The model as `build_model` takes it, from a name, a YAML file's path, a mapping or a list of layers.

    "auto" is `small` for images and `mlp` for vectors. Raises `UserError` for anything else.
    """
    if model == "auto":
        model = "mlp" if vectors else "small"
    if isinstance(model, Path) or (isinstance(model, str) and model.endswith((".yaml", ".yml"))):
        return load_group(Path(model), "model")
    if isinstance(model, str):
        return load_choice("model", model)
    if isinstance(model, Mapping):
        return resolved(model, "model") if _is_plain(model) else dict(model)
    if isinstance(model, Sequence):
        return {"name": "network", "layers": list(model)}
    raise UserError(f"model must be a name, the path of a YAML file, a mapping or a list of layers, not {model!r}")


def augment_settings(augment: Any) -> AugmentSettings:
    """From a name in `conf/augment`, a mapping, `AugmentSettings`, or None for none."""
    return typed({"augment": _group("augment", "none" if augment is None else augment)}, "augment", AugmentSettings)


def schedule_settings(schedule: Any) -> ScheduleSettings:
    """From a name in `conf/schedule`, a mapping or `ScheduleSettings`."""
    return typed({"schedule": _group("schedule", schedule)}, "schedule", ScheduleSettings)


def optimizer_settings(optimizer: Any, learning_rate: float | None) -> SgdSettings | AdamSettings:
    """From a name in `conf/optimizer`, a mapping or the settings themselves; `learning_rate` replaces theirs."""
    content = _group("optimizer", optimizer)
    name = str(content.get("name"))
    if name not in OPTIMIZERS:
        raise UserError(f"optimizer.name is '{name}'; choose {' or '.join(OPTIMIZERS)}")
    settings: SgdSettings | AdamSettings = typed({"optimizer": content}, "optimizer", OPTIMIZERS[name])
    if learning_rate is None:
        return settings
    return replace(settings, learning_rate=require_float(learning_rate, "learning_rate", 0, math.inf))


def loss_weights(weights: Any, classes: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """The weight of each class in the loss, (classes,): from None, "balanced", or a mapping from labels to weights.

    A class that is not in the mapping has weight 1.
    """
    if weights is None or isinstance(weights, str):
        return balanced_weights(weights or "none", labels, len(classes))
    if not isinstance(weights, Mapping):
        raise UserError(f"class_weights must be None, 'balanced' or a mapping from labels to weights, not {weights!r}")
    known = classes.tolist()
    if unknown := [label for label in weights if label not in known]:
        raise UserError(f"class_weights names the label {unknown[0]!r}, which is not in y")
    found = [require_float(weights.get(label, 1.0), f"class_weights[{label!r}]", 0, math.inf) for label in known]
    return np.array(found, np.float32)


FURTHER = (
    "ema",
    "lookahead",
    "lookahead_share",
    "sizes",
    "max_minutes",
)  # of `conf/trainer`


def further_options(trainer: Any) -> dict[str, Any]:
    """The option `trainer`, a mapping or None. Raises `UserError` for what is not in `FURTHER`."""
    if trainer is None:
        return {}
    if not isinstance(trainer, Mapping):
        raise UserError(f"trainer must be a mapping of options such as {{'ema': 0.998}}, not {trainer!r}")
    if unknown := [name for name in trainer if name not in FURTHER]:
        raise UserError(f"trainer has '{unknown[0]}'; it takes {', '.join(FURTHER)}")
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in trainer.items()}


def require_int(value: Any, name: str, least: int) -> int:
    """`value`, Python's or NumPy's, as an int of at least `least`. Raises `UserError` naming it."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise UserError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def require_float(value: Any, name: str, low: float, high: float) -> float:
    """`value`, Python's or NumPy's, as a float from `low` to below `high`. Raises `UserError` naming it."""
    if not isinstance(value, int | float | np.number) or isinstance(value, bool) or not low <= value < high:
        raise UserError(f"{name} must be a number from {low} to below {high}, not {value!r}")
    return float(value)


def _group(group: str, value: Any) -> dict[str, Any]:
    """The content of a config group, from a name, a mapping or a dataclass."""
    if isinstance(value, str):
        return load_choice(group, value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return {key: each.item() if isinstance(each, np.generic) else each for key, each in value.items()}
    raise UserError(f"{group} must be a name, a mapping or settings, not {value!r}")


def _is_plain(value: Any) -> bool:
    """Whether it has only types of YAML; then it may have interpolations."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)
