"""Which tests launch emulated kernels, and in which order they judge a mutant: cheap ones first."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.cases import Call

TESTS = Path(__file__).resolve().parents[1]

# In the order in which they run.
STAGES = ("values", "thread order", "forced variants", "small grids", "unaligned arrays", "checked mode")
_BY_BACKEND = {"emulator-fast": "values", "emulator-checked": "checked mode"}
_BY_MODE = {"fast": "values", "checked": "checked mode"}  # of the fixture `cuda` in tests/cuda_ops
_BY_FILE = {
    "test_thread_order": "thread order",
    "test_gemm_variants": "forced variants",
    "test_small_grids": "small grids",
    "test_unaligned_arrays": "unaligned arrays",
}
_BY_TEST = {
    "test_the_order_of_threads_does_not_show": "thread order",
    "test_one_block_does_the_work_of_many": "small grids",
    "test_gathering_tiles": "forced variants",
    "test_tiles_of_the_filter_gradient": "forced variants",
    "test_arrays_may_begin_where_no_vector_fits": "unaligned arrays",
}

# The tests that judge, as they stand.
FILES = (
    *(f"backends/{name}.py" for name in ("test_conformance", "test_numerics", "test_philox", *_BY_FILE)),
    *(str(path.relative_to(TESTS)) for path in sorted((TESTS / "cuda_ops").glob("test_*.py"))),
)


def stage_of(item: pytest.Item) -> str | None:
    """The stage of a test; None for one that launches no emulated kernel."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if "backend" in parameters:
        return _BY_BACKEND.get(parameters["backend"])
    if "cuda" in parameters:
        return _BY_MODE.get(parameters["cuda"])
    if not parameters or parameters.get("where", "emulator") != "emulator":
        return None
    return _BY_TEST.get(item.originalname) or _BY_FILE.get(item.path.stem)


def call_of(item: pytest.Item) -> Call | None:
    """The call of the case list that a test runs, if it runs one."""
    call = item.callspec.params.get("call") if hasattr(item, "callspec") else None
    return call if isinstance(call, Call) else None
