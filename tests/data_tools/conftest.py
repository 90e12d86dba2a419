"""Fixtures of the data tools' tests."""

from pathlib import Path

import pytest
from hypothesis import settings

# Not a test of speed: by default an example that takes a fifth of a second on a busy machine would fail.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty `data.root`; packs go beside it."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder
