"""Weights of Keras: `.keras` archives, `.weights.h5` of Keras 3, and `.h5` of Keras 2, read by h5py without Keras."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.exporting.keras_file import snake_case
from cnn.importing.modules import Module, Weights, as_floats, natural
from foundation.errors import UserError
from foundation.extras import needed

_LARGEST = 1 << 31  # bytes of the weights in an archive
_LARGEST_JSON = 1 << 24
_OWN = "assets/cnn-from-scratch.json"
_KINDS = {
    "conv2d": "conv",
    "depthwise_conv2d": "depthwise",
    "dense": "dense",
    "batch_normalization": "batch_norm",
    "group_normalization": "norm",
    "layer_normalization": "norm",
    "p_re_lu": "prelu",
}
_KEYS = {
    "conv": ("weight", "bias"),
    "depthwise": ("weight", "bias"),
    "dense": ("weight", "bias"),
    "batch_norm": ("gamma", "beta", "mean", "variance"),
    "norm": ("gamma", "beta"),
    "prelu": ("slope",),
}
_ALSO = {"kernel": "weight", "depthwise_kernel": "weight", "moving_mean": "mean", "moving_variance": "variance",
         "alpha": "slope"}  # fmt: skip


def read_keras(path: Path) -> Weights:
    """The modules of a file of Keras, with the scaling of pixels if its first layer is Rescaling.

    Raises `UserError` for a damaged file, and for layers that are not of this project.
    """
    h5py = needed("h5py", f"weights={path.name}", "export")
    try:
        if zipfile.is_zipfile(path):
            config, content, own = _archive(path)
            with h5py.File(io.BytesIO(content), "r") as file:
                return _from_layers(file, config, own)
        with h5py.File(path, "r") as file:
            if "layers" in file or "_layer_checkpoint_dependencies" in file:
                return _from_layers(file, None, {})
            return _from_keras_2(file)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # h5py and zipfile raise many kinds on hostile bytes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a whole file of Keras ({reason})") from error


def _archive(path: Path) -> tuple[list[dict[str, Any]], bytes, dict[str, Any]]:
    """The layers of the config, the bytes of the weights, and what our own export has added."""
    with zipfile.ZipFile(path) as archive:
        for name, most in (("config.json", _LARGEST_JSON), ("model.weights.h5", _LARGEST)):
            if archive.getinfo(name).file_size > most:
                raise UserError(f"its {name} is larger than {most >> 20} MiB")
        config = json.loads(archive.read("config.json"))
        own = {}
        if _OWN in archive.namelist() and archive.getinfo(_OWN).file_size <= _LARGEST_JSON:
            own = json.loads(archive.read(_OWN))
        return _layers_of(config), archive.read("model.weights.h5"), own if isinstance(own, dict) else {}


def _layers_of(config: Any) -> list[dict[str, Any]]:
    """The layers of a model's config, in order. Raises `UserError` for models within models."""
    layers = config["config"]["layers"]
    for layer in layers:
        if layer["class_name"] in ("Functional", "Sequential", "Model"):
            raise UserError(f"its layer {layer['config'].get('name')} is a model by itself: save it alone")
        if layer["config"].get("data_format") == "channels_first":
            raise UserError("its images are channels-first; save a model of channels-last ones")
    return list(layers)


def _from_layers(file: Any, config: Sequence[Mapping[str, Any]] | None, own: Mapping[str, Any]) -> Weights:
    """Keras 3: a group for each layer, called by its class and a count."""
    group = file["layers"] if "layers" in file else file["_layer_checkpoint_dependencies"]
    names: list[tuple[str, str, Mapping[str, Any]]] = []
    if config is None:
        names = [(name, _without_count(name), {}) for name in sorted(group, key=natural)]
    else:
        counts: dict[str, int] = {}
        for layer in config:
            base = snake_case(str(layer["class_name"]))
            counts[base] = counts.get(base, -1) + 1
            numbered = f"{base}_{counts[base]}" if counts[base] else base
            name = numbered if numbered in group else str(layer["config"]["name"])
            names.append((name, base, layer["config"]))
    modules = []
    for name, base, options in names:
        if name not in group or "vars" not in group[name]:
            continue
        held = group[name]["vars"]
        tensors = [as_floats(name, held[key][()]) for key in sorted(held, key=natural)]
        if tensors:
            label = str(options.get("name", held.attrs.get("name", name)))
            modules.append(_module(label, base, tensors, options))
    return _weights(modules, config, own)


def _from_keras_2(file: Any) -> Weights:
    """Keras 2: the names of layers and weights are attributes, in order."""
    root = file.get("model_weights", file)
    config = _layers_of(json.loads(_text(file.attrs["model_config"]))) if "model_config" in file.attrs else None
    options = {layer["config"]["name"]: layer for layer in config or ()}
    modules = []
    for layer in map(_text, root.attrs["layer_names"]):
        names = [_text(each) for each in root[layer].attrs["weight_names"]]
        if not names:
            continue
        tensors = {name.rpartition("/")[2].partition(":")[0]: as_floats(name, root[layer][name][()]) for name in names}
        known = options.get(layer)
        base = snake_case(str(known["class_name"])) if known else _base_by_keys(layer, tensors)
        modules.append(_module(layer, base, tensors, known["config"] if known else {}))
    return _weights(modules, config, {})


def _base_by_keys(layer: str, tensors: Mapping[str, NDArray[Any]]) -> str:
    """The class of a layer of which only the weights are known, by their names and shapes."""
    if "depthwise_kernel" in tensors:
        return "depthwise_conv2d"
    if "moving_mean" in tensors:
        return "batch_normalization"
    if "kernel" in tensors:
        return {4: "conv2d", 2: "dense"}.get(tensors["kernel"].ndim, layer)
    return "p_re_lu" if "alpha" in tensors else "layer_normalization"


def _module(
    name: str, base: str, tensors: Sequence[NDArray[Any]] | Mapping[str, NDArray[Any]], options: Mapping[str, Any]
) -> Module:
    if base not in _KINDS:
        raise UserError(f"its layer {name} ({base}) has weights, and no layer of this project is like it")
    kind = _KINDS[base]
    keys = list(_KEYS[kind])
    for key, option in (("gamma", "scale"), ("beta", "center")):  # norms without one of these
        if options.get(option) is False and key in keys:
            keys.remove(key)
    if isinstance(tensors, Mapping):
        named = {_ALSO.get(key, key): tensor for key, tensor in tensors.items()}
    else:
        if len(tensors) > len(keys):
            raise UserError(f"its layer {name} has {len(tensors)} weights, and ours {len(keys)}")
        named = dict(zip(keys, tensors, strict=False))
    if kind in ("batch_norm", "norm") and named:
        count = next(iter(named.values())).shape
        named = {"gamma": np.ones(count, np.float32), "beta": np.zeros(count, np.float32), **named}
    if kind == "prelu":
        named = {"slope": named["slope"].reshape(-1)}
    eps = options.get("epsilon")
    return Module(name, kind, named, float(eps) if isinstance(eps, int | float) else None)


def _weights(modules: Sequence[Module], config: Sequence[Mapping[str, Any]] | None, own: Mapping[str, Any]) -> Weights:
    scale = offset = None
    for layer in (config or ())[:3]:
        if layer["class_name"] == "Rescaling":
            scale, offset = (np.atleast_1d(layer["config"][key]).astype(float).tolist() for key in ("scale", "offset"))
    classes = own.get("classes")
    known = isinstance(classes, list) and all(isinstance(each, str) for each in classes)
    return Weights(modules, "keras", False, scale, offset, classes if known else None)


def _without_count(name: str) -> str:
    """The class in the name of a group: conv2d_3 is a conv2d."""
    head, _, count = name.rpartition("_")
    return head if head and count.isdigit() else name


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
