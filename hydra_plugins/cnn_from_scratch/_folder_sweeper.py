"""The common part of the sweepers: a sweep in a folder, started again it goes on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from cnn.sweeping.sweep import Sweep


class FolderSweeper(Sweeper):
    """A sweeper of this project; a subclass says which jobs there are."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: Sequence[str]) -> None:
        """Run what `arguments`, the command line, describe."""
        from cnn.sweeping.sweep import Sweep  # noqa: PLC0415

        assert self.config is not None, "setup comes before sweep"
        assert self.hydra_context is not None, "setup comes before sweep"
        overrides = OverridesParser.create(self.hydra_context.config_loader).parse_overrides(list(arguments))
        self.run(Sweep(self.config, self.hydra_context, self.launcher), overrides)

    @abstractmethod
    def run(self, sweep: Sweep, overrides: Sequence[Override]) -> None:
        """Run the sweep that the parsed command line describes."""
