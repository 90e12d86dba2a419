"""Compares our network with PyTorch's: logits, loss, gradients, updated weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.torch_reference import TorchReference, float32_switches, parameters_of
from benchmarks.workload import SEED, Options, Workload
from cnn.backends import Activation, Array
from cnn.layers import AvgPool2D, Layer, MaxPool2D, PReLULayer
from cnn.layers.activations import ActivationLayer
from cnn.models import InferenceModel, Model
from cnn.models.graph import Node
from cnn.models.plan import Block, Plan

TOLERANCE = 1e-4  # of the norm
# With few images the gradients of batch norms of vectors are only rounding; more than the most only take time.
# With 16 images, PyTorch's own float32 is off by 5e-5 (`baseline`), with 32 by 7e-6.
LEAST, MOST = 32, 64
LEARNING_RATE = 1e-4  # of the compared update; Adam's first step changes every weight by this
# A gradient that is only rounding, such as that of a bias before a batch norm, is not compared by its own norm.
_FLOOR = 1e-3  # of the norm of all gradients together

Arrays = Mapping[str, NDArray[Any]]


def checked_batch(batch: int) -> int:
    """The images of the training step that is compared."""
    return min(max(batch, LEAST), MOST)


def differences(
    options: Options,
    model: Model,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    layout: str = "channels_last",
    device: str = "cpu",
    inferred: NDArray[np.uint8] | None = None,
) -> dict[str, Any]:
    """The differences of ours in float32 from PyTorch's in float64, as fractions of the norm of PyTorch's.

    `model` has no dropout and is changed. The learning rate of `options` is replaced; there is no augmentation.
    `logits` are those of inference on `inferred` (else `images`), with non-trivial running statistics.
    `loss`, `gradients` (all together), `worst_gradient` (of one parameter, named by `worst`) and `weights` (after the
    optimizer's update) are those of the loop's training step on `images` (n, h, w, c), all as one batch.
    `pytorch_float32` is the difference of PyTorch's gradients in float32 from those in float64. PyTorch's float32 is
    not the reference, because its error can be a percent and more (on a CPU with channels last).

    Near the kink of a ReLU or a maximum, rounding decides between two gradients, which are both correct: there the
    gradient is masked on both sides (`Kinks`).
    """
    with float32_switches():
        return _differences(options, model, images, labels, layout, device, images if inferred is None else inferred)


def _differences(
    options: Options,
    model: Model,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    layout: str,
    device: str,
    inferred: NDArray[np.uint8],
) -> dict[str, Any]:
    ops = model.ops
    options = Options(replace(options.optimizer, learning_rate=LEARNING_RATE))
    _unsettle(model)
    work = Workload(options, model, images, labels, len(images))
    reference, single = TorchReference(model, device, layout), TorchReference(model, device, layout)
    reference.module.double()

    x = work.network_input(inferred)
    with reference.torch.inference_mode():
        reference.take_statistics(model)
        reference.module.eval()
        expected = reference.module(reference.images(ops.to_numpy(x))).cpu().numpy()
    found: dict[str, Any] = {"logits": _apart(ops.to_numpy(InferenceModel(model).forward(x)), expected)}

    kinks, x = Kinks(model), ops.to_numpy(work.network_input(images))
    optimizer, penalty_in_loss = reference.optimizer(options.optimizer)
    their_loss = _their_step(reference, kinks, x, labels, penalty_in_loss)
    theirs = _with_penalty(model, reference.gradients(), penalty_in_loss)
    _their_step(single, kinks, x, labels, penalty_in_loss)
    their_single = _with_penalty(model, single.gradients(), penalty_in_loss)
    found["pytorch_float32"] = gradients_apart(their_single, theirs)["gradients"]

    kinks.stop_in(model)
    work.begin_epoch(shuffled=False)
    work.step.run(len(images))
    found["loss"] = _apart(np.array(work.step.totals()[0]), their_loss)
    found |= gradients_apart(model.gradients.on_host(), theirs)
    optimizer.step()
    ours = model.values.on_host()
    found["weights"] = _apart(_joined(ours, ours), _joined(reference.weights(), ours))
    return found


def _their_step(
    reference: TorchReference,
    kinks: Kinks,
    x: NDArray[np.float32],
    labels: NDArray[np.int64],
    penalty_in_loss: bool,
) -> NDArray[Any]:
    """PyTorch's loss without penalties; its gradients are left in `reference`. The first call finds the `kinks`."""
    reference.module.train()
    kinks.stop_in_torch(reference)
    logits = reference.module(reference.images(x))
    loss = reference.torch.nn.functional.cross_entropy(logits, reference.labels(labels))
    (loss + reference.penalty() if penalty_in_loss else loss).backward()
    return np.asarray(loss.detach().cpu().numpy())


def _with_penalty(model: Model, gradients: Arrays, included: bool) -> dict[str, NDArray[Any]]:
    """Gradients with those of the layers' l2, if they are not included yet."""
    if included:
        return dict(gradients)
    specs, values = parameters_of(model), model.values.on_host()
    return {name: gradient + 2 * specs[name].l2 * values[name] for name, gradient in gradients.items()}


# --- kinks -----------------------------------------------------------------------------------------------------------

# Nearer to a kink than this fraction of the layer's root mean square, the gradient is masked.
_MARGIN = 1e-3


@dataclass
class Kinks:
    """Masks of the gradient, at the same elements of our network and of PyTorch's.

    Our blocks are computed in one pass, so gradients can be masked only at their borders: at a block's output, where an
    element is masked if it depends on an unclear decision of the tail; and at the result of its product, whose
    activation is last in the backward pass.
    """

    model: Model
    masks: dict[int, NDArray[np.bool_]] = field(default_factory=dict)  # of node outputs, by index: True keeps
    _clear: dict[int, NDArray[np.bool_]] = field(default_factory=dict)  # by node: its input, or a pooling's output
    _argmax: dict[int, NDArray[np.intp]] = field(default_factory=dict)  # by max pooling

    @property
    def _plan(self) -> Plan:
        return self.model._training.plan

    def stop_in_torch(self, reference: TorchReference) -> None:
        """Mask the reference's next backward pass; its first forward pass determines the masks."""
        fill = not self.masks
        if fill:
            for index, node in enumerate(self.model.graph.nodes):
                if kinks_of(node.layer) or isinstance(node.layer, MaxPool2D):
                    self._watch(reference, index, node)
        outputs = {block.output for block in self._plan.blocks}
        products = {block.producer for block in self._plan.blocks if block.producer is not None}
        for index in outputs | products:
            self._hook(reference, index)
        last = reference.modules[self.model.graph.nodes[-1].name]
        if fill:
            last.register_forward_hook(lambda *_: self._assemble())

    def stop_in(self, model: Model) -> None:
        """Mask our backward passes from now on."""
        ops, executor = model.ops, model._training
        masks = {index: ops.array(mask.astype(np.float32)) for index, mask in self.masks.items()}
        backward = executor.block_backward

        def stopping(ready: Any, saved: Any, given: dict[int, Array]) -> None:
            block: Block = ready.block
            if block.output in masks:
                given[block.output] = given[block.output] * masks[block.output]
            if block.producer is not None and block.producer != block.output and block.producer in masks:
                executor.ops = _MaskedBackward(ops, masks[block.producer])  # type: ignore[assignment]
            backward(ready, saved, given)
            executor.ops = ops

        executor.block_backward = stopping  # type: ignore[method-assign]

    def _watch(self, reference: TorchReference, index: int, node: Node) -> None:
        def before(_module: Any, inputs: tuple[Any, ...]) -> None:
            x = inputs[0].detach().double().cpu()
            values = (x.permute(0, 2, 3, 1) if x.dim() == 4 else x).numpy()
            margin = _MARGIN * float(np.sqrt(np.square(values).mean()))
            if isinstance(node.layer, MaxPool2D):
                self._clear[index], self._argmax[index] = _lead(values, node, margin)
            else:
                distances = [np.abs(values - kink) > margin for kink in kinks_of(node.layer)]
                self._clear[index] = np.logical_and.reduce(distances)

        reference.modules[node.name].register_forward_pre_hook(before)

    def _hook(self, reference: TorchReference, index: int) -> None:
        torch = reference.torch

        def stop(gradient: Any) -> Any:
            if index not in self.masks:
                return gradient
            mask = torch.from_numpy(self.masks[index]).to(gradient.device)
            return gradient * (mask.permute(0, 3, 1, 2) if mask.dim() == 4 else mask)

        def after(_module: Any, _inputs: Any, output: Any) -> None:
            if output.requires_grad:
                output.register_hook(stop)

        reference.modules[self.model.graph.nodes[index].name].register_forward_hook(after)

    def _assemble(self) -> None:
        """The masks at the borders of our blocks, from the masks of single decisions."""
        for block in self._plan.blocks:
            if block.activation in self._clear:
                assert block.producer is not None
                self.masks[block.producer] = self._clear[block.activation]
            mask = None
            for index in block.tail:
                mask = self._through(index, mask)
            if mask is not None:
                self.masks[block.output] = mask

    def _through(self, index: int, mask: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """The mask of the output of a tail's stage, given that of its input."""
        node = self.model.graph.nodes[index]
        if isinstance(node.layer, MaxPool2D):
            if mask is None:
                return self._clear[index]
            taken = np.take_along_axis(_taps(mask, node, True), self._argmax[index][None], 0)[0]
            return self._clear[index] & taken
        if mask is not None and isinstance(node.layer, AvgPool2D):
            return np.logical_and.reduce(_taps(mask, node, True))
        if index not in self._clear:
            return mask
        return self._clear[index] if mask is None else mask & self._clear[index]


def kinks_of(layer: Layer) -> tuple[float, ...]:
    """The inputs at which the layer's derivative is discontinuous."""
    if isinstance(layer, PReLULayer):
        return (0.0,)
    if not isinstance(layer, ActivationLayer):
        return ()
    activation = layer.activation
    if activation.name == "clip":
        return activation.a, activation.b
    return {"relu": (0.0,), "leaky_relu": (0.0,), "elu": (0.0,), "selu": (0.0,), "hard_swish": (-3.0, 3.0)}.get(
        activation.name, ()
    )


def _taps(values: NDArray[Any], node: Node, outside: Any) -> NDArray[Any]:
    """The values of (n, h, w, c) at every tap of a pooling's windows: (taps, n, p, q, c)."""
    window = node.layer.window(node.input_shape)  # type: ignore[attr-defined]
    padded = np.full((len(values), *window.padded_hw, values.shape[3]), outside, values.dtype)
    padded[:, *window.inside] = values
    return np.stack([padded[:, rows, columns] for _, _, rows, columns in window.taps_in_order()])


def _lead(values: NDArray[Any], node: Node, margin: float) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Whether the largest value of each window is larger than the others by `margin`, and its tap."""
    taps = _taps(values, node, -np.inf)
    if len(taps) == 1:
        return np.ones(taps.shape[1:], bool), np.zeros(taps.shape[1:], np.intp)
    first, second = -np.partition(-taps, 1, axis=0)[:2]
    return first - second > margin, taps.argmax(axis=0)


class _MaskedBackward:
    """A replacement of a backend that masks the gradient of a tail, or of a single activation."""

    def __init__(self, ops: Any, mask: Array) -> None:
        self._ops, self._mask = ops, mask

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ops, name)

    def tail_backward(self, dy: Array, stages: Any, saved: Any, before: Any = None) -> tuple[Array, list[Array]]:
        """As in the backend, with its first result masked."""
        dx, others = self._ops.tail_backward(dy, stages, saved, before)
        return dx * self._mask, others

    def activation_backward(self, dy: Array, saved: Array, activation: Activation) -> Array:
        """As in the backend, masked."""
        return self._ops.activation_backward(dy, saved, activation) * self._mask


# --- figures ---------------------------------------------------------------------------------------------------------


def gradients_apart(ours: Arrays, theirs: Arrays) -> dict[str, Any]:
    """The difference of all gradients together, and the largest of any one with its parameter's name."""
    whole = float(np.linalg.norm(_joined(theirs, ours)))
    fractions = {
        name: _norm(ours[name] - theirs[name]) / max(_norm(theirs[name]), _FLOOR * whole, np.finfo(float).tiny)
        for name in ours
    }
    worst = max(fractions, key=lambda name: fractions[name])
    together = _apart(_joined(ours, ours), _joined(theirs, ours))
    return {"gradients": together, "worst_gradient": fractions[worst], "worst": worst}


def largest(found: Mapping[str, Mapping[str, Any]]) -> tuple[float, str]:
    """The largest difference in any memory format, and its name."""
    numbers = [
        (float(value), f"{key.replace('_', ' ')}{' ' + each['worst'] if key == 'worst_gradient' else ''}, {layout}")
        for layout, each in found.items()
        for key, value in each.items()
        if key not in ("worst", "pytorch_float32")
    ]
    return max(numbers, key=lambda number: (number[0] != number[0], number[0]))  # NaN is the largest


def _unsettle(model: Model) -> None:
    """Random running statistics, as after training, instead of the initial 0 and 1."""
    random, state = np.random.default_rng(SEED), model.state()
    for name, values in state.items():
        if name.endswith(".mean"):
            state[name] = random.normal(0, 0.3, values.shape).astype(values.dtype)
        elif name.endswith(".variance"):
            state[name] = random.uniform(0.5, 2, values.shape).astype(values.dtype)
    model.load_state(state, "the comparison")


def _joined(arrays: Arrays, order: Arrays) -> NDArray[np.float64]:
    return np.concatenate([np.ravel(arrays[name]).astype(np.float64) for name in order])


def _norm(values: NDArray[Any]) -> float:
    return float(np.linalg.norm(np.asarray(values, np.float64).ravel()))


def _apart(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    return _norm(np.asarray(ours, np.float64) - theirs) / max(_norm(theirs), np.finfo(float).tiny)
