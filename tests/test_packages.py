"""A package imports only from lower packages."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from cnn.backends import Ops

ROOT = Path(__file__).resolve().parents[1]

# In order from the lowest; the entry files in cnn/ import from all of them.
ALLOWED = {
    "foundation": set(),
    "data_tools": {"foundation"},
    "cnn.kernels": {"foundation"},
    "cnn.backends": {"foundation", "cnn.kernels"},
    "cnn.layers": {"foundation", "cnn.backends"},
    "cnn.models": {"foundation", "cnn.backends", "cnn.layers"},
    "cnn.training": {"foundation", "cnn.backends", "cnn.layers", "cnn.models"},
    # Over training; its start, like an entry file, takes the backend from cnn.assembly.
    "cnn.distributed": {"foundation", "cnn.backends", "cnn.models", "cnn.training", "cnn"},
    "cnn.exporting": {"foundation", "cnn.backends", "cnn.layers", "cnn.models", "cnn.training", "cnn.photos"},
    "cnn.explaining": {"foundation", "cnn.backends", "cnn.layers", "cnn.models"},
    "cnn.importing": {"foundation", "cnn.layers", "cnn.models", "cnn.exporting"},
    "cnn.reporting": {"foundation"},
    "cnn.sweeping": {"foundation", "cnn.training", "cnn.reporting"},
    "cnn.loggers": {"foundation"},
    "cnn.photos": {"foundation", "cnn.backends"},
    "hydra_plugins": {"foundation", "cnn.sweeping", "cnn.reporting"},
    "cnn": {
        *("foundation", "data_tools", "cnn.backends", "cnn.models", "cnn.training", "cnn.reporting"),
        *("cnn.sweeping", "cnn.loggers", "cnn.distributed", "cnn.photos", "cnn.explaining"),
        *("cnn.exporting", "cnn.importing"),
    },
    # All measurements; of the library only the command cnn.benchmark imports it.
    "benchmarks": {
        *("foundation", "data_tools", "cnn"),
        *("cnn.kernels", "cnn.backends", "cnn.layers", "cnn.models", "cnn.training", "cnn.reporting"),
        *("cnn.sweeping", "cnn.photos"),
    },
    "cnn.benchmark": {"foundation", "cnn", "benchmarks"},
}
OWN = ("foundation", "data_tools", "cnn", "benchmarks", "hydra_plugins")


def package_of(module: str) -> str:
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
def test_packages_import_only_from_below(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        own = package_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for module in imports(path):
            if module.split(".")[0] in OWN and package_of(module) != own:
                assert package_of(module) in ALLOWED[own], f"{path.relative_to(ROOT)} imports {module}"


# Within data_tools: the way of an image from its archive to the pack, and what is counted on the way.
FLOW = (
    *("sources", "detection", "reading", "loading", "duplicates", "config", "merging", "packs", "preparation"),
    "auditing",
)
COMMANDS = ("prepare", "audit", "download")


@pytest.mark.parametrize("path", sorted((ROOT / "data_tools").rglob("*.py")), ids=lambda path: path.stem)
def test_data_tools_import_along_the_flow(path):
    name = path.relative_to(ROOT / "data_tools").with_suffix("").parts[0]
    for module in imports(path):
        other = module.split(".")[1] if module.startswith("data_tools.") else ""
        if name in COMMANDS or not other:
            continue
        assert other not in COMMANDS, f"{path.name} imports the command {module}"
        if other in FLOW:
            assert name in FLOW, f"{path.name} imports {module}"
            assert FLOW.index(other) <= FLOW.index(name), f"{path.name} imports {module}"


# --- within the core ------------------------------------------------------------------------------------------------

BACKENDS = {
    # A backend's package and what it may import of the others.
    "reference": set(),
    "cpu": {"reference"},
    "cuda": {"reference"},
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_knows_the_reference_and_no_other_backend(backend):
    for path in sorted((ROOT / "cnn" / "backends" / backend).glob("*.py")):
        for module in imports(path):
            if module.startswith("cnn.backends."):
                other = module.split(".")[2]
                assert other not in BACKENDS or other == backend or other in BACKENDS[backend], f"{path}: {module}"


def families(of: type) -> dict[str, str]:
    """Each operation of a backend -> the file that defines it, as far as it is one of the backend's own package."""
    package = of.__module__
    return {
        name: function.__module__.removeprefix(f"{package}.")
        for name, function in inspect.getmembers(of, inspect.isfunction)
        if not name.startswith("_") and function.__module__.startswith(f"{package}.")
    }


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_an_operation_stands_in_the_file_of_its_name_in_every_backend(backend):
    contract = {
        name: function.__module__.rpartition(".")[2]
        for name, function in inspect.getmembers(Ops, inspect.isfunction)
        if not name.startswith("_")
    }
    assert set(contract.values()) == {
        path.stem for path in (ROOT / "cnn/backends/reference").glob("*.py") if path.stem != "__init__"
    }
    pytest.importorskip("numba" if backend == "cpu" else "cnn.backends.cuda")
    module = importlib.import_module(f"cnn.backends.{backend}")
    own = {name: file for name, file in families(getattr(module, module.__all__[0])).items() if name in contract}
    assert len(own) > 15
    assert own == {name: contract[name] for name in own}


def test_the_plan_alone_decides_what_is_computed_together():
    """Blocks are made in one file, and no layer or backend has a flag that a neighbour sets."""
    for path in sorted((ROOT / "cnn").rglob("*.py")):
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert "Block" not in calls or path.name == "plan.py", path
    flags = re.compile(r"takes_relu|relu_gradient_taken|relu_before|pools_with_batch_norm|\.fused\b")
    for path in sorted((ROOT / "cnn").rglob("*")):
        if path.suffix in {".py", ".cu", ".cuh"}:
            assert not flags.search(path.read_text()), path


def test_a_training_step_stands_in_one_place():
    """One file of the library calls an optimizer, and one begins a batch; scoring selects its batches likewise."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "cnn").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                call = f"{ast.unparse(node.func.value).split('.')[-1]}.{node.func.attr}"
                found.setdefault(call, set()).add(path.relative_to(ROOT).as_posix())
    assert found["optimizer.step"] == {"cnn/training/step.py"}
    assert found["ops.next_batch"] == {"cnn/training/batches.py", "cnn/training/inference.py"}


def import_graph(root: Path, packages: tuple[str, ...]) -> dict[str, set[str]]:
    """Each module below `root` -> those it imports by name, at its top or inside a function."""
    paths = {}
    for package in packages:
        for path in (root / package).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph: dict[str, set[str]] = {module: set() for module in paths}
    for module, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                graph[module] |= {alias.name for alias in node.names} & paths.keys()
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: a relative import"
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                graph[module] |= names & paths.keys()  # modules of a package
                if names - paths.keys():  # names in a module
                    graph[module] |= {str(node.module)} & paths.keys()
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import one another in a ring, the first repeated at the end; none: an empty list."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_one_another():
    graph = import_graph(ROOT, OWN)
    assert len(graph) > 100
    assert circle(graph) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("import pack.b", "import pack.a"),
        ("from pack.b import name", "from pack.a import name"),
        ("from pack import b", "from pack import a"),
        ("def later():\n    from pack.b import name", "import pack.a as a"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pack.b", "from pack.a import name"),
        ("from pack import name", "name = 1"),  # pack/__init__.py imports pack.a
        ("import pack.a", "name = 1"),
    ],
)
def test_a_circle_is_found_however_it_is_written(tmp_path, one, other):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/__init__.py").write_text("from pack.a import name\n")
    (tmp_path / "pack/a.py").write_text("name = 1\n")
    (tmp_path / "pack/b.py").write_text(other)
    assert circle(import_graph(tmp_path, ("pack",))) == []
    (tmp_path / "pack/a.py").write_text(one)
    assert "pack.a" in circle(import_graph(tmp_path, ("pack",)))


def test_layers_call_ops_and_never_numpy_on_data():
    for path in sorted((ROOT / "cnn" / "layers").glob("*.py")):
        used = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "np"
        }
        if path.name == "initializers.py":  # it runs once, before the first batch
            continue
        # Initial values and types are made on the host; everything that runs per batch belongs to the backend.
        assert used <= {"ndarray", "dtype", "float32", "float64", "random", "zeros", "ones", "array", "uint64"}, (
            path.name
        )
        assert "cupy" not in imports(path)


@pytest.mark.parametrize("package", OWN)
def test_no_pickle(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        # Joblib's threads start the processes of a sweep's jobs: nothing is pickled for them.
        threads = {"joblib"} if path.name == "joblib_launcher.py" else set()
        assert not imports(path) & ({"pickle", "dill", "joblib", "cloudpickle"} - threads), path.name
        assert "allow_pickle=True" not in path.read_text()


def test_cuda_is_imported_only_where_it_is_used():
    """`import cnn` works without CuPy, without NVRTC and without PyTorch, measuring without PyTorch or a GPU too:
    their imports stand inside functions."""
    for path in sorted([*(ROOT / "cnn").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]):
        for node in ast.parse(path.read_text()).body:
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {module.split(".")[0] for module in modules} & {"cupy", "cuda", "torch"}, path.name
