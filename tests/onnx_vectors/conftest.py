"""The vectors run on the backends of the conformance suite."""

from backends.conftest import backend, pytest_collection_modifyitems

__all__ = ["backend", "pytest_collection_modifyitems"]
