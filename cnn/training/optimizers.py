"""Optimizers: the update, its hyperparameters, and its moments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from cnn.backends import Array
from cnn.models import Model
from cnn.models.arena import Arena
from foundation.errors import UserError


@dataclass
class SgdSettings:
    """The config group `optimizer` for SGD."""

    name: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0  # on weights, not on biases or batch norms
    decoupled: bool = False  # False: L2, added to the gradient; True: subtracted from the weights directly

    def __post_init__(self) -> None:
        _check(self, weights=("momentum",))


@dataclass
class AdamSettings:
    """The config group `optimizer` for Adam; with `decoupled` weight decay it is AdamW."""

    name: str = "adam"
    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False

    def __post_init__(self) -> None:
        _check(self, weights=("beta1", "beta2"))
        if self.eps <= 0:
            raise UserError(f"optimizer.eps must be above 0, not {self.eps}")


def _check(settings: SgdSettings | AdamSettings, weights: tuple[str, ...]) -> None:
    """Raise `UserError` for a learning rate, a decay or a moving average's weight out of range."""
    if not settings.learning_rate > 0:
        raise UserError(f"optimizer.learning_rate must be above 0, not {settings.learning_rate}")
    if not settings.weight_decay >= 0:
        raise UserError(f"optimizer.weight_decay must be at least 0, not {settings.weight_decay}")
    for name in weights:
        if not 0 <= getattr(settings, name) < 1:
            raise UserError(f"optimizer.{name} must be from 0 to below 1, not {getattr(settings, name)}")


def check_clip_norm(clip_norm: float | None) -> None:
    """Raise `UserError` for a largest norm of the gradient that is not above 0."""
    if clip_norm is not None and not clip_norm > 0:
        raise UserError(f"trainer.clip_norm must be above 0, or null for none, not {clip_norm}")


class Optimizer(ABC):
    """Updates a model's parameters in place; a checkpoint has its moments.

    Parameters, gradients and moments are arenas of one layout, so an update is one memory pass over each of their two
    parts, the parameters with weight decay and those without; without weight decay it is one pass over all.
    """

    slots: ClassVar[tuple[str, ...]]

    def __init__(self, model: Model, settings: SgdSettings | AdamSettings, clip_norm: float | None = None) -> None:
        """`clip_norm` is the largest norm of the gradient; a longer gradient is scaled down to it. None: no limit."""
        check_clip_norm(clip_norm)
        self.model, self.ops, self.settings, self.clip_norm = model, model.ops, settings, clip_norm
        self.learning_rate = settings.learning_rate
        shapes = {name: tensor.shape for name, tensor in model.values.tensors.items()}
        self._moments = {slot: Arena(self.ops, shapes, model.dtype) for slot in self.slots}
        self._parts: list[tuple[list[Array], Array | None, float]] = [
            (
                [arena.flat[part] for arena in (model.values, model.gradients, *self._moments.values())],
                None if model.rounded is None else model.rounded.flat[part],
                decay,
            )
            for part, decay in _parts(model.decayed, model.trained, settings.weight_decay)
            if model.values.flat[part].size
        ]

    @property
    @abstractmethod
    def momentum(self) -> float:
        """The setting: of Adam, beta1."""

    def step(self, learning_rate: Array, momentum: Array, clock: Array) -> None:
        """One update by the gradients of the backward pass.

        learning_rate and momentum (of Adam, beta1) are float32 (1,), clock[0] int64 is the step.
        """
        if self.clip_norm is not None:
            self.ops.clip_by_global_norm(self.model.gradients.flat, self.clip_norm)
        for arrays, copy, decay in self._parts:
            shared = {"learning_rate": learning_rate, "copy": copy, "weight_decay": decay}
            self._update(arrays, momentum, clock, decoupled=self.settings.decoupled, **shared)

    @abstractmethod
    def _update(self, arrays: list[Array], momentum: Array, clock: Array, **shared: Any) -> None:
        """Update parameters by gradients and moments: flat arrays, in this order. `shared` is for either operation."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Copies of the moments on the host, by slot and parameter name."""
        return {
            f"{slot}/{name}": tensor
            for slot, arena in self._moments.items()
            for name, tensor in arena.on_host().items()
        }

    def load_state(self, state: Mapping[str, NDArray[Any]], origin: str = "the checkpoint") -> None:
        """Load moments. Raises `UserError`, naming `origin`, if they are of another optimizer or model; then nothing
        has changed."""
        if set(state) != {f"{slot}/{name}" for slot in self.slots for name in self.model.values.tensors}:
            raise UserError(f"{origin}'s optimizer state is of another optimizer or model: resume with the same")
        for slot, arena in self._moments.items():
            for name, tensor in arena.tensors.items():
                if (shape := state[f"{slot}/{name}"].shape) != tensor.shape:
                    raise UserError(f"{origin}'s {slot} of {name} has shape {shape}, the model needs {tensor.shape}")
        for slot, arena in self._moments.items():
            arena.fill({name: state[f"{slot}/{name}"] for name in arena.tensors})


def _parts(decayed: int, trained: int, weight_decay: float) -> list[tuple[slice, float]]:
    """The parts of the arenas that are updated, and the weight decay of each."""
    if not weight_decay:
        return [(slice(0, trained), 0.0)]
    return [(slice(0, decayed), weight_decay), (slice(decayed, trained), 0.0)]


class Sgd(Optimizer):
    """Stochastic gradient descent with momentum."""

    slots = ("velocity",)
    settings: SgdSettings

    @property
    def momentum(self) -> float:
        """The setting."""
        return self.settings.momentum

    def _update(self, arrays: list[Array], momentum: Array, clock: Array, **shared: Any) -> None:
        self.ops.sgd_update(*arrays, momentum=momentum, nesterov=self.settings.nesterov, **shared)


class Adam(Optimizer):
    """Adam and AdamW."""

    slots = ("first_moment", "second_moment")
    settings: AdamSettings

    @property
    def momentum(self) -> float:
        """The setting beta1."""
        return self.settings.beta1

    def _update(self, arrays: list[Array], momentum: Array, clock: Array, **shared: Any) -> None:
        s = self.settings
        self.ops.adam_update(*arrays, clock=clock, beta1=momentum, beta2=s.beta2, eps=s.eps, **shared)


def build_optimizer(settings: SgdSettings | AdamSettings, model: Model, clip_norm: float | None = None) -> Optimizer:
    """The optimizer that `settings` describe."""
    if isinstance(settings, SgdSettings):
        return Sgd(model, settings, clip_norm)
    return Adam(model, settings, clip_norm)


# The settings by their names in a config.
OPTIMIZERS: Mapping[str, type[SgdSettings] | type[AdamSettings]] = {"sgd": SgdSettings, "adam": AdamSettings}
