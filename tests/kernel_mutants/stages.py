"""Which tests launch emulated kernels, and in which order they judge a mutant: cheap ones first."""

from __future__ import annotations

import pytest

from backends.cases import OpCall

# In the order in which they run.
STAGES = ("values", "thread order", "forced variants", "small grids", "unaligned arrays", "checked mode")
_BY_BACKEND = {"emulator-fast": "values", "emulator-checked": "checked mode"}
_BY_FILE = {
    "test_thread_order": "thread order",
    "test_gemm_variants": "forced variants",
    "test_small_grids": "small grids",
    "test_unaligned_arrays": "unaligned arrays",
}

# The tests that judge, as they stand.
FILES = ("test_conformance.py", "test_numerics.py", "test_philox.py", *(f"{name}.py" for name in _BY_FILE))


def stage_of(item: pytest.Item) -> str | None:
    """The stage of a test; None for one that launches no emulated kernel."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if "backend" in parameters:
        return _BY_BACKEND.get(parameters["backend"])
    if not parameters or parameters.get("where", "emulator") != "emulator":
        return None
    return _BY_FILE.get(item.path.stem)


def call_of(item: pytest.Item) -> OpCall | None:
    """The call of the case list that a test runs, if it runs one."""
    call = item.callspec.params.get("call") if hasattr(item, "callspec") else None
    return call if isinstance(call, OpCall) else None
