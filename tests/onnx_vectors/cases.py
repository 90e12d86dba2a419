"""ONNX's own test vectors as NumPy arrays, and why some of them are not ours to run.

The package `onnx` makes the vectors of single operators in Python (`onnx.backend.test.case.node`) and carries those
that PyTorch's exporter once wrote as files (`onnx/backend/test/data`).
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import pkgutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import onnx
from onnx.backend.test.case import node as node_cases
from onnx.reference.ops import op_pool_common

from onnx_vectors.reasons import MODULES, NOT_OURS, SHAPES_ONLY, limit

# The folders of `onnx/backend/test/data` whose models are a few operators with their vectors beside them.
FOLDERS = ("pytorch-converted", "pytorch-operator", "simple")
# What our operations take; integers beside floats are labels, indices and masks.
_DTYPES = ("float32", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
_DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


@dataclass(frozen=True)
class Node:
    """One operator of a case's graph."""

    op: str
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]  # "" where an optional input is left out
    outputs: tuple[str, ...]
    version: int  # of the operator set that the case was written for


@dataclass(frozen=True, eq=False)
class Case:
    """A graph of operators, the arrays that go in, and those that must come out."""

    name: str
    source: str  # "node" or a folder of the package's data
    nodes: tuple[Node, ...]
    values: Mapping[str, Any]  # inputs and initial values by name
    expected: Mapping[str, Any]

    @property
    def ops(self) -> list[str]:
        """The operators that calculate: those that only move numbers are NumPy's."""
        return list(dict.fromkeys(node.op for node in self.nodes if node.op not in SHAPES_ONLY))

    @functools.cached_property
    def reason(self) -> str:
        """Why the case is not run; empty if it is."""
        if self.source == "node" and "_expanded" in self.name:
            return "the same vectors as another case's, with the operator spelt out in others"
        if not self.ops:
            return "moves numbers only"
        for op in self.ops:
            if op in NOT_OURS:
                return NOT_OURS[op]
        arrays = [*self.values.values(), *self.expected.values()]
        if not all(isinstance(array, np.ndarray) and array.dtype.name in _DTYPES for array in arrays):
            return "values of another data type"
        return next((text for node in self.nodes if (text := limit(node, self))), "")

    @property
    def size(self) -> int:
        """How many numbers go in and come out."""
        return sum(array.size for array in [*self.values.values(), *self.expected.values()])


@functools.cache
def our_cases() -> tuple[Case, ...]:
    """The cases that are run. Reads only the modules of operators that we have: the others take seconds."""
    with _quick_import():
        for module in MODULES:
            importlib.import_module(f"{node_cases.__name__}.{module}")
    return tuple(case for case in [*_made(), *_stored()] if not case.reason)


@functools.cache
def all_cases() -> tuple[Case, ...]:
    """Every case of the package but for those of whole networks, which have no weights in it."""
    with _quick_import():
        _import_all(node_cases)
    return (*_made(), *_stored())


def _import_all(package: ModuleType) -> None:
    for _, name, is_package in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{name}")
        if is_package:
            _import_all(module)


@contextlib.contextmanager
def _quick_import() -> Iterator[None]:
    """The modules calculate their vectors when they are imported, three-dimensional poolings for seconds.

    Nobody runs those, so they are left at zero. What the modules warn of is their own affair.
    """
    pool = op_pool_common.pool

    def flat_pool(padded, x_shape, kernel, strides, out_shape, *rest, **options):
        if len(out_shape) > 2:
            return np.zeros((*x_shape[:2], *out_shape), padded.dtype)
        return pool(padded, x_shape, kernel, strides, out_shape, *rest, **options)

    with mock.patch.object(op_pool_common, "pool", flat_pool), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _made() -> Iterator[Case]:
    """What the modules imported so far have made."""
    for made in node_cases._NodeTestCases:  # `collect_testcases` would import the rest
        inputs, outputs = made.data_sets[0]
        graph = made.model.graph
        yield Case(
            made.name,
            "node",
            _nodes(made.model),
            dict(zip([value.name for value in graph.input], map(_array, inputs), strict=False)),
            dict(zip([value.name for value in graph.output], map(_array, outputs), strict=False)),
        )


def _stored() -> Iterator[Case]:
    for source in FOLDERS:
        for folder in sorted((_DATA / source).iterdir()):
            yield _read(folder)


def _read(folder: Path) -> Case:
    model = onnx.load(folder / "model.onnx")
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    fed = [value.name for value in model.graph.input if value.name not in values]
    data = folder / "test_data_set_0"
    values |= {name: _tensor(data / f"input_{i}.pb") for i, name in enumerate(fed)}
    expected = {value.name: _tensor(data / f"output_{i}.pb") for i, value in enumerate(model.graph.output)}
    return Case(folder.name, folder.parent.name, _nodes(model), values, expected)


def _tensor(path: Path) -> Any:
    """The array in a file; what is no tensor, such as a sequence of them, as bytes."""
    data = path.read_bytes()
    try:
        return onnx.numpy_helper.to_array(onnx.TensorProto.FromString(data))
    except Exception:  # protobuf's own errors differ between its implementations
        return data


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def _nodes(model: onnx.ModelProto) -> tuple[Node, ...]:
    versions = {each.domain: each.version for each in model.opset_import}
    return tuple(
        Node(
            node.op_type,
            {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute},
            tuple(node.input),
            tuple(node.output),
            versions.get(node.domain, 0),
        )
        for node in model.graph.node
    )
