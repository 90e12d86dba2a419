"""A room imports only from the rooms below it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the ground up; the entry files directly in cnn/ stand on all of them.
ALLOWED = {
    "foundation": set(),
    "data_tools": {"foundation"},
    "cnn.kernels": set(),
    "cnn.backends": {"foundation", "cnn.kernels"},
    "cnn.layers": {"foundation", "cnn.backends"},
    "cnn.models": {"foundation", "cnn.backends", "cnn.layers"},
    "cnn.training": {"foundation", "cnn.backends", "cnn.layers", "cnn.models"},
    "cnn.reporting": {"foundation"},
    "cnn.benchmarking": {
        *("foundation", "cnn.kernels", "cnn.backends", "cnn.layers", "cnn.models", "cnn.training"),
    },
    "cnn": {
        *("foundation", "data_tools", "cnn.backends", "cnn.models", "cnn.training", "cnn.reporting"),
        "cnn.benchmarking",
    },
    # Measures what it likes; nothing imports it but its tests.
    "benchmarks": {
        *("foundation", "data_tools", "cnn"),
        *("cnn.kernels", "cnn.backends", "cnn.layers", "cnn.models", "cnn.training", "cnn.reporting"),
        "cnn.benchmarking",
    },
}
OWN = ("foundation", "data_tools", "cnn", "benchmarks")


def room_of(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if ".".join(parts[:2]) in ALLOWED else parts[0]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("package", OWN)
def test_rooms_import_only_from_below(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        room = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for module in imports(path):
            if module.split(".")[0] in OWN and room_of(module) != room:
                assert room_of(module) in ALLOWED[room], f"{path.relative_to(ROOT)} imports {module}"


def test_layers_call_ops_and_never_numpy_on_data():
    for path in sorted((ROOT / "cnn" / "layers").glob("*.py")):
        used = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "np"
        }
        # Initial values and types are made on the host; everything that runs per batch belongs to the backend.
        assert used <= {"ndarray", "dtype", "float32", "float64", "random", "zeros", "ones", "array", "uint64"}, (
            path.name
        )
        assert "cupy" not in imports(path)


@pytest.mark.parametrize("package", OWN)
def test_no_pickle(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        assert not imports(path) & {"pickle", "dill", "joblib", "cloudpickle"}, path.name
        assert "allow_pickle=True" not in path.read_text()


def test_cuda_is_imported_only_where_it_is_used():
    """`import cnn` works without CuPy, without NVRTC and without PyTorch: their imports stand inside functions."""
    for path in sorted((ROOT / "cnn").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {module.split(".")[0] for module in modules} & {"cupy", "cuda", "torch"}, path.name
