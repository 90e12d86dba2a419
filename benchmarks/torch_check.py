"""Whether our network and PyTorch's compute the same: logits, loss, gradients, updated weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cpu_cells import CLASSES, LEARNING_RATE, SEED, Cell, optimizer_config
from benchmarks.torch_twin import CpuTwin
from cnn.backends import Ops, get_ops
from cnn.benchmarking.models import without_dropout
from cnn.layers import Layer
from cnn.layers.batch_norm import BatchNorm
from cnn.models import InferenceModel, Model
from cnn.training.losses import CrossEntropy, class_weights
from cnn.training.optimizers import build_optimizer

TOLERANCE = 1e-4  # of the norm
# Batch norms of vectors need some pictures, or their gradients are rounding; more than the most only take time.
# With 16, PyTorch's own float32 is off by 5e-5 (`baseline`), with 32 by 7e-6.
LEAST, MOST = 32, 64
# A gradient that is nothing but rounding, such as a bias's before a batch norm, is no measure of itself.
_FLOOR = 1e-3  # of the norm of all gradients together

# Nearer to a kink than this share of the layer's root mean square, no gradient goes through, on either side.
_MARGIN = 1e-3

Arrays = Mapping[str, NDArray[Any]]
Clear = dict[str, NDArray[np.float32]]


def checked_batch(batch: int) -> int:
    """The pictures of the training step that is compared."""
    return min(max(batch, LEAST), MOST)


def differences(cell: Cell, batch: int, layout: str) -> dict[str, Any]:
    """How far ours in float32 is from PyTorch's in float64, as shares of the norm of PyTorch's, without dropout.

    `logits` are those of inference on the cell's own batch, with running statistics that are not trivial. `loss`,
    `gradients` (all together), `worst_gradient` (of one parameter, named by `worst`) and `weights` (after Adam's
    update) are those of a training step on `batch` pictures. `pytorch_float32` is how far PyTorch's own gradients in
    float32 are from those in float64.
    """
    ops = get_ops("numpy", cell.threads)
    model = cell.build(ops, without_dropout(cell.config()))
    _unsettle(model, ops)
    twin, plain = CpuTwin(model, layout), CpuTwin(model, layout)
    twin.module.double()
    torch, pictures = twin.torch, cell.data()[0]
    with torch.inference_mode():
        twin.take_statistics()
        twin.module.eval()
        expected = twin.module(twin.pictures(pictures).double()).numpy()
    found: dict[str, Any] = {
        "logits": _apart(ops.to_numpy(InferenceModel(model).forward(ops.array(pictures))), expected)
    }

    pictures, labels = cell.data(batch)
    optimizer, their_optimizer = build_optimizer(optimizer_config(), model), twin.optimizer()
    clear: Clear = {}
    their_loss = _their_step(twin, twin.pictures(pictures).double(), labels, clear)
    theirs = _with_penalty(model, twin.gradients())
    _their_step(plain, plain.pictures(pictures), labels, clear)
    found["pytorch_float32"] = gradients_apart(_with_penalty(model, plain.gradients()), theirs)["gradients"]

    logits = model.forward(ops.array(pictures), True)
    loss, dlogits = CrossEntropy(ops, class_weights("none", labels, CLASSES))(logits, ops.array(labels))
    for leaf in model.root.leaves():
        if leaf.name in clear:
            setattr(leaf, "backward", _stopped(leaf.backward, _reached(model, leaf, clear[leaf.name])))  # noqa: B010
    model.backward(dlogits)
    found["loss"] = _apart(ops.to_numpy(loss), their_loss)
    found |= gradients_apart({name: ops.to_numpy(p.grad) for name, p in model.parameters.items()}, theirs)
    optimizer.step(LEARNING_RATE)
    their_optimizer.step()
    ours = {name: ops.to_numpy(p.value) for name, p in model.parameters.items()}
    found["weights"] = _apart(_joined(ours, ours), _joined(twin.weights(), ours))
    return found


def _their_step(twin: CpuTwin, pictures: Any, labels: NDArray[np.int64], clear: Clear) -> NDArray[Any]:
    """PyTorch's loss, and the gradients in the twin; `clear` is filled if it is empty, else obeyed."""
    twin.module.train()
    stop_at_kinks(twin, clear)
    loss = twin.torch.nn.functional.cross_entropy(twin.module(pictures), twin.labels(labels))
    loss.backward()
    return np.asarray(loss.detach().numpy())


def _with_penalty(model: Model, gradients: Arrays) -> dict[str, NDArray[Any]]:
    """Gradients with what the layers' l2 adds to them."""
    parameters = model.parameters
    return {
        name: gradient + 2 * parameters[name].l2 * model.ops.to_numpy(parameters[name].value)
        for name, gradient in gradients.items()
    }


def stop_at_kinks(twin: CpuTwin, clear: Clear) -> None:
    """Have the twin's next backward pass stop where a ReLU or a maximum is near its kink.

    There a rounding decides between two gradients, both of them right. `clear` has, by layer, 1 where the gradient of
    its output goes on and 0 where not, (n, h, w, c) or (n, c). If it is empty, the next forward pass fills it.
    """
    nn, torch, fill = twin.torch.nn, twin.torch, not clear

    def watch(module: Any, name: str, distance: Callable[[Any], Any]) -> None:
        def before(_module: Any, inputs: tuple[Any, ...]) -> None:
            x = inputs[0].detach()
            goes_on = distance(x) > _MARGIN * x[x.isfinite()].square().mean().sqrt()
            values = goes_on.permute(0, 2, 3, 1) if goes_on.dim() == 4 else goes_on
            clear[name] = np.ascontiguousarray(values.numpy()).astype(np.float32)

        def after(_module: Any, _inputs: Any, output: Any) -> None:
            goes_on = torch.from_numpy(clear[name])
            goes_on = goes_on.permute(0, 3, 1, 2) if goes_on.dim() == 4 else goes_on
            output.register_hook(lambda gradient: gradient * goes_on)

        if fill:
            module.register_forward_pre_hook(before)
        module.register_forward_hook(after)

    for module, name in twin.layer_of.items():
        if isinstance(module, nn.ReLU):
            watch(module, name, torch.abs)
        elif isinstance(module, nn.MaxPool2d):
            watch(module, name, partial(_lead, kernel=module.kernel_size, stride=module.stride))


def _lead(x: Any, kernel: tuple[int, int], stride: tuple[int, int]) -> Any:
    """By how much the largest value of each window leads."""
    windows = x.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1]).flatten(4)
    first = windows.topk(min(2, windows.shape[-1])).values
    return first[..., 0] - first[..., -1] if windows.shape[-1] > 1 else first[..., 0].abs() + 1


def _reached(model: Model, leaf: Layer, goes_on: NDArray[np.float32]) -> Any:
    """`goes_on` in the shape of the gradient that comes back to `leaf`.

    Behind a batch norm that pools, a ReLU's gradient is that of the pooled image: then the winners' values count.
    """
    norm = next((each for each in model.root.leaves() if _pools_behind(each, leaf, model)), None)
    if norm is None:
        return model.ops.array(goes_on)
    assert isinstance(norm, BatchNorm) and norm.pooling is not None and norm._saved is not None  # noqa: PT018
    winner: Any = norm._saved[-1]
    window = norm.pooling.fixed_window
    everywhere = model.ops.max_pool2d_backward(np.ones(winner.shape, np.float32), winner, window) * goes_on
    (p, q), (height, width) = window.output_hw, window.kernel
    inside = everywhere[:, : p * height, : q * width]
    return inside.reshape(len(inside), p, height, q, width, -1).sum(axis=(2, 4))


def _pools_behind(norm: Layer, relu: Layer, model: Model) -> bool:
    """Whether `relu` is applied by the batch norm `norm`, and pooled by it."""
    if not isinstance(norm, BatchNorm) or norm.pooling is None or not norm.relu:
        return False
    leaves = model.root.leaves()
    return leaves[leaves.index(norm) + 1] is relu


def _stopped(backward: Callable[[Any], Any], goes_on: Any) -> Callable[[Any], Any]:
    return lambda dy: backward(dy * goes_on)


def gradients_apart(ours: Arrays, theirs: Arrays) -> dict[str, Any]:
    """The difference of all gradients together, and the largest of any one with its parameter's name."""
    whole = float(np.linalg.norm(_joined(theirs, ours)))
    shares = {
        name: _norm(ours[name] - theirs[name]) / max(_norm(theirs[name]), _FLOOR * whole, np.finfo(float).tiny)
        for name in ours
    }
    worst = max(shares, key=lambda name: shares[name])
    together = _apart(_joined(ours, ours), _joined(theirs, ours))
    return {"gradients": together, "worst_gradient": shares[worst], "worst": worst}


def largest(found: Mapping[str, Mapping[str, Any]]) -> tuple[float, str]:
    """The largest difference of any layout, and what differs so."""
    numbers = [
        (float(value), f"{key.replace('_', ' ')}{' ' + each['worst'] if key == 'worst_gradient' else ''}, {layout}")
        for layout, each in found.items()
        for key, value in each.items()
        if key not in ("worst", "pytorch_float32")
    ]
    return max(numbers, key=lambda number: (number[0] != number[0], number[0]))  # NaN is the largest of all


def _unsettle(model: Model, ops: Ops) -> None:
    """Running statistics as training might leave them, where a fresh model has 0 and 1."""
    random = np.random.default_rng(SEED)
    for leaf in model.root.leaves():
        for key, values in leaf.buffers.items():
            drawn = random.normal(0, 0.3, values.shape) if key == "mean" else random.uniform(0.5, 2, values.shape)
            leaf.buffers[key] = model.buffers[f"{leaf.name}.{key}"] = ops.array(drawn.astype(values.dtype))


def _joined(arrays: Arrays, order: Arrays) -> NDArray[np.float64]:
    return np.concatenate([np.ravel(arrays[name]).astype(np.float64) for name in order])


def _norm(values: NDArray[Any]) -> float:
    return float(np.linalg.norm(np.asarray(values, np.float64).ravel()))


def _apart(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    return _norm(np.asarray(ours, np.float64) - theirs) / max(_norm(theirs), np.finfo(float).tiny)
