"""The same networks in PyTorch, where it is installed: what ours are held against. Never a dependency."""

from __future__ import annotations

import gc
import importlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from cnn.benchmarking.clock import time_through
from cnn.benchmarking.models import without_dropout
from cnn.layers import Layer, Shape
from cnn.layers.batch_norm import BatchNorm
from cnn.layers.conv2d import Conv2D
from cnn.layers.dense import Dense
from cnn.layers.dropout import Dropout
from cnn.layers.flatten import Flatten
from cnn.layers.global_avg_pool2d import GlobalAvgPool2D
from cnn.layers.max_pool2d import MaxPool2D
from cnn.layers.relu import ReLU
from cnn.models import Model, build_model
from cnn.models.containers import Residual, Sequential
from cnn.training.losses import CrossEntropy, class_weights
from foundation.errors import UserError

# Two networks are the same if a step's loss and gradients differ by no more, as a share of their norm.
TOLERANCE = 1e-3

# How PyTorch may compute: compiled or not, in which precision. Always with the channels last in memory.
MODES = {
    "eager": (("eager, fp32", False, False), ("eager, bf16 autocast", False, True)),
    "compiled": (("compiled, fp32", True, False), ("compiled, bf16 autocast", True, True)),
}


def modes_of(choice: Any) -> list[tuple[str, bool, bool]]:
    """Name, whether compiled, whether bf16, for what `benchmark.torch` says."""
    if not choice:
        return []
    return [*MODES["eager"], *(MODES["compiled"] if choice == "auto" else ())]


def torch_missing() -> str | None:
    """Why there is no PyTorch here; None where there is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return "PyTorch is not installed" if isinstance(error, ModuleNotFoundError) else _line(error)
    return None


def torch_facts() -> dict[str, Any]:
    """PyTorch's version, and cuDNN's where it has one."""
    torch: Any = importlib.import_module("torch")
    cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else None
    return {"torch": str(torch.__version__), "torch_cuda": torch.version.cuda, "cudnn": cudnn}


# --- the network ----------------------------------------------------------------------------------------------------


class TorchTwin:
    """The network `model` in PyTorch, with the same weights, its images with the channels last in memory."""

    def __init__(self, model: Model, device: str) -> None:
        self.torch: Any = importlib.import_module("torch")
        self.model, self.device = model, device
        self.tensors: dict[str, Any] = {}  # PyTorch's parameters by the names that the model has for them
        self.module = self._sequence(model.root, model.input_shape)
        self.module.to(device=device, memory_format=self.torch.channels_last)

    def pictures(self, images: NDArray[np.float32]) -> Any:
        """A batch (n, h, w, c) as PyTorch takes it: (n, c, h, w), which lies in memory as it did."""
        moved = self.torch.from_numpy(np.ascontiguousarray(images)).to(self.device).permute(0, 3, 1, 2)
        return moved.contiguous(memory_format=self.torch.channels_last)

    def labels(self, labels: NDArray[np.int64]) -> Any:
        """The labels where PyTorch computes."""
        return self.torch.from_numpy(np.ascontiguousarray(labels)).to(self.device)

    def gradients(self) -> dict[str, NDArray[Any]]:
        """What the last backward pass left, in the model's layout."""
        return {name: _from_torch(tensor.grad.detach().cpu().numpy()) for name, tensor in self.tensors.items()}

    def penalty(self) -> Any:
        """What the layers' `l2` adds to the loss; 0 for none."""
        return sum(p.l2 * self.tensors[name].square().sum() for name, p in self.model.parameters.items() if p.l2)

    def _sequence(self, container: Sequential, shape: Shape) -> Any:
        modules = []
        for layer in container.layers:
            modules += self._modules(layer, shape)
            shape = layer.output_shape(shape)
        return self.torch.nn.Sequential(*modules)

    def _modules(self, layer: Layer, shape: Shape) -> list[Any]:
        nn = self.torch.nn
        match layer:
            case Residual():
                modules = [_residual(nn, self._sequence(layer.body, shape), self._sequence(layer.shortcut, shape))]
            case Conv2D():
                modules = self._convolution(layer, shape)
            case Dense():
                (units,) = layer.output_shape(shape)
                modules = [self._with_weights(nn.Linear(shape[0], units, bias=layer.bias), layer)]
            case BatchNorm():
                norm = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
                modules = [self._with_weights(norm(shape[-1], layer.eps, 1 - layer.momentum), layer)]
            case MaxPool2D():
                window = layer.window(shape)
                top, bottom, left, right = window.padding
                pads = [nn.ConstantPad2d((left, right, top, bottom), float("-inf"))] if window.has_padding else []
                modules = [*pads, nn.MaxPool2d(window.kernel, window.stride)]
            case GlobalAvgPool2D():
                modules = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            case ReLU():
                modules = [nn.ReLU()]
            case Dropout():
                modules = [nn.Dropout(layer.rate)]
            case Flatten():
                modules = [_flatten_channels_last(nn)]
            case _:
                raise UserError(f"{layer.name}: the benchmark cannot build a {layer.kind} in PyTorch")
        return modules

    def _convolution(self, layer: Conv2D, shape: Shape) -> list[Any]:
        nn, window = self.torch.nn, layer.window(shape)
        top, bottom, left, right = window.padding
        even = top == bottom and left == right
        convolution = nn.Conv2d(
            shape[2],
            layer.filters,
            window.kernel,
            window.stride,
            (top, left) if even else 0,
            window.dilation,
            layer.groups,
            bias=layer.bias,
        )
        pads = [] if even else [nn.ZeroPad2d((left, right, top, bottom))]
        return [*pads, self._with_weights(convolution, layer)]

    def _with_weights(self, module: Any, layer: Layer) -> Any:
        theirs = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
        for key, parameter in layer.params.items():
            tensor = getattr(module, theirs[key])
            values = _to_torch(np.asarray(self.model.ops.to_numpy(parameter.value)))
            with self.torch.no_grad():
                tensor.copy_(self.torch.from_numpy(np.ascontiguousarray(values)))
            self.tensors[f"{layer.name}.{key}"] = tensor
        return module


def _to_torch(values: NDArray[Any]) -> NDArray[Any]:
    """Filters (kh, kw, c, k) to (k, c, kh, kw), matrices (c, k) to (k, c)."""
    return values.transpose(3, 2, 0, 1) if values.ndim == 4 else values.T


def _from_torch(values: NDArray[Any]) -> NDArray[Any]:
    return values.transpose(2, 3, 1, 0) if values.ndim == 4 else values.T


def _residual(nn: Any, body: Any, shortcut: Any) -> Any:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.shortcut = body, shortcut

        def forward(self, x: Any) -> Any:
            return self.body(x) + self.shortcut(x)

    return Sum()


def _flatten_channels_last(nn: Any) -> Any:
    class FlattenChannelsLast(nn.Module):
        def forward(self, x: Any) -> Any:
            return (x.permute(0, 2, 3, 1) if x.dim() == 4 else x).flatten(1)

    return FlattenChannelsLast()


# --- whether it is the same -----------------------------------------------------------------------------------------


def differences(
    config: Mapping[str, Any],
    model: Model,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    device: str,
    seed: int = 1,
) -> dict[str, float]:
    """How far loss and gradients of a step are from PyTorch's in float64, on equal weights and without dropout.

    Differences as shares: of the loss, and of the norm of all gradients together; `worst` is the worst of any one
    parameter, `torch_fp32` what PyTorch's own gradients in float32 are off by. The yardstick is float64 because
    PyTorch's float32 is not always close to it (on a CPU, with the channels last, a percent and more).
    `config` and `model` are of one network; the images (n, h, w, c) are its input, the weights are drawn by `seed`.
    """
    ops, classes = model.ops, model.root.output_shape(model.input_shape)[0]
    plain = build_model(without_dropout(config), ops, model.input_shape, classes, seed)
    logits = plain.forward(ops.array(images), True)
    criterion = CrossEntropy(ops, class_weights("none", labels, classes))
    loss, dlogits = criterion(logits, ops.array(labels))
    plain.backward(dlogits)
    ours = {name: np.asarray(ops.to_numpy(p.grad), np.float64) for name, p in plain.parameters.items()}
    with _prepared():
        expected, exact = _torch_step(plain, images, labels, device, double=True)
        _, single = _torch_step(plain, images, labels, device, double=False)
    norms = {name: float(np.linalg.norm(values)) for name, values in exact.items()}
    whole = float(np.linalg.norm(list(norms.values())))
    return {
        "loss": abs(float(ops.to_numpy(loss)) - expected) / abs(expected),
        "gradients": _apart(ours, exact) / whole,
        # A gradient that is nothing but rounding, such as a bias's before a batch norm, is no measure of itself.
        "worst": max(float(np.linalg.norm(ours[name] - exact[name])) / max(norms[name], 1e-3 * whole) for name in ours),
        "torch_fp32": _apart(single, exact) / whole,
    }


def _torch_step(
    model: Model, images: NDArray[np.float32], labels: NDArray[np.int64], device: str, double: bool
) -> tuple[float, dict[str, NDArray[np.float64]]]:
    """The loss, and the gradients in the model's layout, penalties included."""
    twin = TorchTwin(model, device)
    pictures = twin.pictures(images)
    if double:
        twin.module.double()
        pictures = pictures.double()
    loss = twin.torch.nn.functional.cross_entropy(twin.module(pictures), twin.labels(labels))
    (loss + twin.penalty()).backward()
    gradients = {name: values.astype(np.float64) for name, values in twin.gradients().items()}
    return float(loss.detach()), gradients


def _apart(a: Mapping[str, NDArray[np.float64]], b: Mapping[str, NDArray[np.float64]]) -> float:
    """The norm of the difference of all tensors together."""
    return float(np.linalg.norm([float(np.linalg.norm(a[name] - b[name])) for name in b]))


# --- how fast it is -------------------------------------------------------------------------------------------------


class TorchClock:
    """Times PyTorch's work: events on a GPU, the host's clock elsewhere."""

    def __init__(self, device: str) -> None:
        self.cuda: Any = importlib.import_module("torch").cuda if device == "cuda" else None

    def mark(self) -> Any:
        """An event on a GPU, else now."""
        if self.cuda is None:
            return time.perf_counter()
        event = self.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, begin: Any, end: Any) -> float:
        """From one mark to another; waits for the second."""
        if self.cuda is None:
            return float(end - begin)
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3

    def wait(self) -> None:
        """Until the device is idle."""
        if self.cuda is not None:
            self.cuda.synchronize()


def torch_row(
    config: DictConfig,
    model: Model,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    mode: tuple[str, bool, bool],
    device: str,
    steps: int,
    warm_up: int,
) -> dict[str, Any]:
    """How fast PyTorch trains the network on one batch, in `mode`; a failure is told in the row and raises nothing."""
    name, compiled, bf16 = mode
    row: dict[str, Any] = {"mode": name}
    torch: Any = importlib.import_module("torch")
    try:
        with _prepared():
            begun = time.perf_counter()
            step = _training_step(config, TorchTwin(model, device), images, labels, compiled, bf16)
            for _ in range(warm_up):
                step()
            clock = TorchClock(device)
            clock.wait()
            row["warm_up_seconds"] = time.perf_counter() - begun
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            seconds = time_through(clock, step, steps)
            row |= {"seconds": seconds, "images_per_second": len(images) / seconds}
            if device == "cuda":
                row["peak_bytes"] = int(torch.cuda.max_memory_allocated())
                row["reserved_bytes"] = int(torch.cuda.max_memory_reserved())
    except Exception as error:
        # Whatever a build of PyTorch lacks must not cost the other rows: a compiler, an operation, memory.
        row["error"] = _line(error)
    finally:
        step = None  # type: ignore[assignment]
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
    return row


def _training_step(
    config: DictConfig,
    twin: TorchTwin,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    compiled: bool,
    bf16: bool,
) -> Callable[[], None]:
    torch, device = twin.torch, twin.device
    optimizer, penalty_in_loss = _optimizer(config, twin)
    pictures, targets = twin.pictures(images), twin.labels(labels)
    twin.module.train()

    def loss_of(x: Any, y: Any) -> Any:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            logits = twin.module(x)
        loss = torch.nn.functional.cross_entropy(logits.float(), y)
        return loss + twin.penalty() if penalty_in_loss else loss

    if compiled:
        torch.compiler.reset()
        loss_of = torch.compile(loss_of, dynamic=False)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(pictures, targets).backward()
        optimizer.step()

    return step


def _optimizer(config: DictConfig, twin: TorchTwin) -> tuple[Any, bool]:
    """PyTorch's optimizer of the same numbers, and whether the layers' l2 is left for the loss to add.

    Where weight decay is added to the gradient, the l2 of a layer is more of it, which costs PyTorch nothing.
    """
    torch, settings = twin.torch, config.optimizer
    decoupled = bool(settings.decoupled)
    groups: dict[float, list[Any]] = {}
    for name, p in twin.model.parameters.items():
        decay = (settings.weight_decay if p.decay else 0.0) + (0.0 if decoupled else 2 * p.l2)
        groups.setdefault(decay, []).append(twin.tensors[name])
    parts = [{"params": tensors, "weight_decay": decay} for decay, tensors in groups.items()]
    fused = {"fused": True} if twin.device == "cuda" else {}
    rate = settings.learning_rate
    if settings.name == "sgd":
        optimizer = torch.optim.SGD(parts, rate, momentum=settings.momentum, nesterov=settings.nesterov, **fused)
    else:
        kind = torch.optim.AdamW if decoupled else torch.optim.Adam
        optimizer = kind(parts, rate, betas=(settings.beta1, settings.beta2), eps=settings.eps, **fused)
    return optimizer, decoupled and any(p.l2 for p in twin.model.parameters.values())


@contextmanager
def _prepared() -> Iterator[None]:
    """PyTorch's switches as the comparison wants them, TF32 off and cuDNN choosing by trial; put back afterwards.

    Its warnings, about the switches themselves among others, are nobody's concern here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from _switched()


def _switched() -> Iterator[None]:
    torch: Any = importlib.import_module("torch")
    switches = [
        (torch.backends.cuda.matmul, "allow_tf32", False),
        (torch.backends.cudnn, "allow_tf32", False),
        (torch.backends.cudnn, "benchmark", True),
    ]
    before = [getattr(owner, name) for owner, name, _ in switches]
    for owner, name, value in switches:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(switches, before, strict=True):
            setattr(owner, name, value)


def _line(error: BaseException) -> str:
    """The error in one line that fits a table."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:160]
