"""Fixtures of the data tools' tests."""

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty `data.root`; packs go beside it."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder
