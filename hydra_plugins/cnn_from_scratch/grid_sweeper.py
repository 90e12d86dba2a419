"""`hydra/sweeper=grid`: every combination of the given values; a sweep that is started again does what is left."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(Sweeper):
    """Runs `cnn.sweeping.grid.run_grid`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: Sequence[str]) -> None:
        """Run the jobs that `arguments`, the command line, describe."""
        from cnn.sweeping.grid import run_grid  # noqa: PLC0415
        from cnn.sweeping.sweep import Sweep  # noqa: PLC0415

        overrides = OverridesParser.create(self.hydra_context.config_loader).parse_overrides(list(arguments))
        run_grid(Sweep(self.config, self.hydra_context, self.launcher), overrides)
