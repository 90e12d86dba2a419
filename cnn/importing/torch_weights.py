"""State dicts of PyTorch: safetensors files, and .pt files read by PyTorch's loader of tensors alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from cnn.exporting.torch_module import PRODUCER
from cnn.importing.modules import Module, Weights, as_floats, natural
from foundation.errors import UserError
from foundation.extras import needed

_WRAPPED = ("state_dict", "model_state_dict", "model", "net")  # keys under which training scripts keep a state dict
_NAMES = {
    "batch_norm": {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "variance"},
    "norm": {"weight": "gamma", "bias": "beta"},
    "prelu": {"weight": "slope"},
}


def read_safetensors(path: Path) -> Weights:
    """The modules of a safetensors file, by the natural order of their names: the file does not keep another."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            state = {name: file.get_tensor(name) for name in sorted(file.keys(), key=natural)}
    except Exception as error:  # of a type that NumPy lacks the library raises what it finds
        raise UserError(
            f"{path} is not a whole safetensors file of float32 or float16 ({str(error) or type(error).__name__})"
        ) from error
    return _weights(path, state, metadata)


def read_pt(path: Path) -> Weights:
    """The modules of a .pt file in their order. Needs PyTorch, whose loader reads tensors and runs nothing."""
    if find_spec("torch") is None:
        raise UserError(
            f"{path} is a pickle, which can run any program when it is loaded. Convert it where you trust it: "
            "from safetensors.torch import save_file; save_file(model.state_dict(), 'weights.safetensors'). "
            "With PyTorch installed its loader of tensors alone is used"
        )
    torch = needed("torch", "weights=FILE.pt", "bench")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} is not a state dict of tensors alone, and nothing else is loaded ({reason})"
        ) from error
    for key in _WRAPPED:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(each, torch.Tensor) for each in state.values()):
        raise UserError(f"{path} is no state dict: save model.state_dict()")
    return _weights(path, {str(name): each.float().numpy() for name, each in state.items()}, {})


def _weights(path: Path, state: Mapping[str, Any], metadata: Mapping[str, str]) -> Weights:
    groups: dict[str, dict[str, NDArray[Any]]] = {}
    own = metadata.get("producer") == PRODUCER
    try:
        for full, tensor in state.items():
            name, _, key = full.removeprefix("module.").rpartition(".")
            if key == "num_batches_tracked" or (own and not name):
                continue  # the latter are pixel scaling and constants of pooling
            groups.setdefault(name, {})[key] = as_floats(full, tensor)
        modules = [_module(name, tensors) for name, tensors in groups.items()]
        scaling = {key: as_floats(key, state[key]).tolist() for key in ("pixel_scale", "pixel_offset") if own}
        classes = json.loads(metadata["classes"]) if own else None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: {error}") from error
    return Weights(
        modules, "torch", not own, scaling.get("pixel_scale"), scaling.get("pixel_offset"), classes, metadata
    )


def _module(name: str, tensors: Mapping[str, NDArray[Any]]) -> Module:
    """A module by the shapes of its tensors."""
    weight = tensors.get("weight")
    if "running_mean" in tensors and "running_var" in tensors:
        kind = "batch_norm"
        count = tensors["running_mean"].shape  # without `affine` there are no weights
        tensors = {"weight": np.ones(count, np.float32), "bias": np.zeros(count, np.float32), **tensors}
    elif weight is None:
        raise ValueError(f"{name or 'the state dict'} has {', '.join(tensors)}, and no weight")
    elif weight.ndim == 1:
        kind = "norm" if "bias" in tensors else "prelu"
    else:
        kind = {4: "conv", 2: "dense"}.get(weight.ndim, "")
    if not kind:
        raise ValueError(
            f"{name}.weight has {weight.ndim if weight is not None else 0} axes: no layer of ours has that"
        )
    names = _NAMES.get(kind, {})
    return Module(name, kind, {names.get(key, key): tensor for key, tensor in tensors.items()})
