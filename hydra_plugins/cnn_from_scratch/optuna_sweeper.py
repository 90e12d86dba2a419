"""`hydra/sweeper=optuna`: a search by Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Runs `cnn.sweeping.search.run_search`."""

    def __init__(self, **settings: Any) -> None:
        """`settings` are those of `cnn.sweeping.study.SearchSettings`."""
        self._settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: Sequence[str]) -> None:
        """Search over what `arguments`, the command line, describe."""
        from cnn.sweeping.search import run_search  # noqa: PLC0415
        from cnn.sweeping.study import SearchSettings  # noqa: PLC0415
        from cnn.sweeping.sweep import Sweep  # noqa: PLC0415
        from foundation.schema import build  # noqa: PLC0415

        settings = build(SearchSettings, self._settings, "hydra.sweeper")
        overrides = OverridesParser.create(self.hydra_context.config_loader).parse_overrides(list(arguments))
        run_search(Sweep(self.config, self.hydra_context, self.launcher), overrides, settings)
