"""`hydra/sweeper=optuna`: a search by Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override

from hydra_plugins.cnn_from_scratch._folder_sweeper import FolderSweeper

if TYPE_CHECKING:
    from cnn.sweeping.sweep import Sweep


class OptunaSweeper(FolderSweeper):
    """Runs `cnn.sweeping.search.run_search`."""

    def __init__(self, **settings: Any) -> None:
        """`settings` are those of `cnn.sweeping.study.SearchSettings`."""
        self._settings = settings

    def run(self, sweep: Sweep, overrides: Sequence[Override]) -> None:
        """Run the trials that are not done."""
        from cnn.sweeping.search import run_search  # noqa: PLC0415
        from cnn.sweeping.study import SearchSettings  # noqa: PLC0415
        from foundation.schema import build  # noqa: PLC0415

        run_search(sweep, overrides, build(SearchSettings, self._settings, "hydra.sweeper"))
