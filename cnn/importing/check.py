"""Is an import right? The file's own tensors, in their own layouts, in a PyTorch module, compared with our output."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.exporting.network import Portable
from cnn.exporting.parity import Parity, compare
from cnn.exporting.torch_module import torch_source, torch_tensors
from cnn.importing.modules import Module
from cnn.layers import BatchNorm
from foundation.extras import needed

_THEIRS = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var", "slope": "weight"}


def check_torch(network: Portable, matched: Mapping[str, Module], channels_first: bool) -> Parity | None:
    """The parity of a network that was imported from PyTorch; None where PyTorch is not installed.

    The module gets the tensors as they are in the file, and flattens images as the file's network did.
    """
    if find_spec("torch") is None:
        return None
    torch = needed("torch", "the check of an import", "bench")
    names: dict[str, Any] = {"__name__": "imported", "__file__": "imported.py"}
    exec(torch_source(network, own_order=not channels_first), names)  # our own text
    module = names["Network"]()
    state: dict[str, NDArray[Any]] = dict(torch_tensors(network))
    for node in network.graph.nodes:
        if node.name in matched:
            for key, tensor in matched[node.name].tensors.items():
                state[f"{node.name}.{_THEIRS.get(key, key)}"] = tensor
            if isinstance(node.layer, BatchNorm):
                state[f"{node.name}.num_batches_tracked"] = np.array(0, np.int64)
    shapes = {key: each.shape for key, each in module.state_dict().items()}
    tensors = {key: torch.from_numpy(np.array(each)).reshape(shapes[key]) for key, each in state.items()}
    module.load_state_dict(tensors)
    module.eval()

    def logits(inputs: NDArray[Any]) -> NDArray[Any]:
        with torch.no_grad():
            return np.asarray(module(torch.from_numpy(np.ascontiguousarray(inputs))).numpy())

    return compare(network, f"torch {torch.__version__.partition('+')[0]} with the tensors of the file", logits)
