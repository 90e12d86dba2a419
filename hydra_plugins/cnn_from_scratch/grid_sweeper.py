"""`hydra/sweeper=grid`: every combination of the given values; a sweep that is started again does what is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import Override

from hydra_plugins.cnn_from_scratch._folder_sweeper import FolderSweeper

if TYPE_CHECKING:
    from cnn.sweeping.sweep import Sweep


class GridSweeper(FolderSweeper):
    """Runs `cnn.sweeping.grid.run_grid`."""

    def run(self, sweep: Sweep, overrides: Sequence[Override]) -> None:
        """Run the jobs that are not done."""
        from cnn.sweeping.grid import run_grid  # noqa: PLC0415

        run_grid(sweep, overrides)
