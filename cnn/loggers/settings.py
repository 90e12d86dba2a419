"""The config group `logger`: the options of each logger, None for one that is not chosen."""

from __future__ import annotations

from dataclasses import dataclass

from foundation.errors import UserError

_MODES = ("online", "offline", "disabled")


@dataclass
class TensorboardSettings:
    """The options `logger.tensorboard`."""

    folder: str | None = None  # None: in the run's folder


@dataclass
class MlflowSettings:
    """The options `logger.mlflow`."""

    experiment: str = "cnn"
    tracking_uri: str | None = None  # None: MLFLOW_TRACKING_URI of the environment, else a file in the current folder


@dataclass
class WandbSettings:
    """The options `logger.wandb`."""

    project: str = "cnn"
    entity: str | None = None  # a team; None: the person's own
    mode: str = "online"

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise UserError(f"logger.wandb.mode is '{self.mode}'; choose {', '.join(_MODES)}")


@dataclass
class LoggerSettings:
    """The config group `logger`."""

    tensorboard: TensorboardSettings | None = None
    mlflow: MlflowSettings | None = None
    wandb: WandbSettings | None = None
