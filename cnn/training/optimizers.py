"""Optimizers: which update, with which numbers, and the moments it keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from cnn.backends import Array
from cnn.models import Model
from foundation.entry import typed
from foundation.errors import UserError


@dataclass
class SgdSettings:
    """The config group `optimizer` for SGD."""

    name: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0  # on weights, not on biases or batch norms
    decoupled: bool = False  # False: L2, added to the gradient; True: taken off the weights directly

    def __post_init__(self) -> None:
        _check(self, shares=("momentum",))


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
        _check(self, shares=("beta1", "beta2"))
        if self.eps <= 0:
            raise UserError(f"optimizer.eps must be above 0, not {self.eps}")


def _check(settings: SgdSettings | AdamSettings, shares: tuple[str, ...]) -> None:
    """Raise `UserError` for a learning rate, a decay or a moving average's share out of range."""
    if not settings.learning_rate > 0:
        raise UserError(f"optimizer.learning_rate must be above 0, not {settings.learning_rate}")
    if not settings.weight_decay >= 0:
        raise UserError(f"optimizer.weight_decay must be at least 0, not {settings.weight_decay}")
    for name in shares:
        if not 0 <= getattr(settings, name) < 1:
            raise UserError(f"optimizer.{name} must be from 0 to below 1, not {getattr(settings, name)}")


class Optimizer(ABC):
    """Updates a model's parameters in place; its moments go into the checkpoint."""

    slots: ClassVar[tuple[str, ...]]

    def __init__(self, model: Model, learning_rate: float, weight_decay: float) -> None:
        self.model, self.ops, self.learning_rate = model, model.ops, learning_rate
        self.steps = 0
        self._decay = [weight_decay if p.decay else 0.0 for p in model.parameters.values()]
        self._moments: dict[str, list[Array]] = {
            slot: [self.ops.zeros_like(p.value) for p in model.parameters.values()] for slot in self.slots
        }

    def step(self, learning_rate: float) -> None:
        """One update from the gradients that the backward pass left."""
        self.steps += 1
        parameters = self.model.parameters.values()
        self._update([p.value for p in parameters], [p.grad for p in parameters], learning_rate)

    @abstractmethod
    def _update(self, values: list[Array], grads: list[Array], learning_rate: float) -> None: ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Copies of the moments on the host, by slot and parameter name."""
        return {
            f"{slot}/{name}": np.array(self.ops.to_numpy(moment))
            for slot, moments in self._moments.items()
            for name, moment in zip(self.model.parameters, moments, strict=True)
        }

    def load_state(self, state: Mapping[str, NDArray[Any]], steps: int) -> None:
        """Take over moments and the number of steps made. Raises `UserError` if they are another optimizer's."""
        if set(state) != set(self.state()):
            raise UserError("the checkpoint's optimizer state is of another optimizer or model: resume with the same")
        self.steps = steps
        for slot in self.slots:
            self._moments[slot] = [self.ops.array(state[f"{slot}/{name}"]) for name in self.model.parameters]


class Sgd(Optimizer):
    """Stochastic gradient descent with momentum."""

    slots = ("velocity",)

    def __init__(self, model: Model, settings: SgdSettings) -> None:
        super().__init__(model, settings.learning_rate, settings.weight_decay)
        self.settings = settings

    def _update(self, values: list[Array], grads: list[Array], learning_rate: float) -> None:
        self.ops.sgd_update(
            values,
            grads,
            self._moments["velocity"],
            learning_rate=learning_rate,
            momentum=self.settings.momentum,
            nesterov=self.settings.nesterov,
            weight_decay=self._decay,
            decoupled=self.settings.decoupled,
        )


class Adam(Optimizer):
    """Adam and AdamW."""

    slots = ("first_moment", "second_moment")

    def __init__(self, model: Model, settings: AdamSettings) -> None:
        super().__init__(model, settings.learning_rate, settings.weight_decay)
        self.settings = settings

    def _update(self, values: list[Array], grads: list[Array], learning_rate: float) -> None:
        self.ops.adam_update(
            values,
            grads,
            self._moments["first_moment"],
            self._moments["second_moment"],
            learning_rate=learning_rate,
            beta1=self.settings.beta1,
            beta2=self.settings.beta2,
            eps=self.settings.eps,
            step=self.steps,
            weight_decay=self._decay,
            decoupled=self.settings.decoupled,
        )


def build_optimizer(config: DictConfig, model: Model) -> Optimizer:
    """The optimizer that the group `optimizer` of `config` describes."""
    name = config.optimizer.get("name")
    if name == "sgd":
        return Sgd(model, typed(config, "optimizer", SgdSettings))
    if name == "adam":
        return Adam(model, typed(config, "optimizer", AdamSettings))
    raise UserError(f"optimizer.name is '{name}'; choose sgd or adam")
