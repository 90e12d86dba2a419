"""Which backend a name gets, and what is said where it cannot be had."""

import sys
from types import SimpleNamespace

import pytest

from cnn.backends import NumpyOps, get_ops, gpu_missing
from cnn.backends.cupy_ops import CupyOps
from foundation.errors import UserError


class RuntimeApiError(RuntimeError):
    """Stands in for CuPy's CUDARuntimeError."""


def fake_cupy(devices: int | Exception) -> SimpleNamespace:
    """A module `cupy` on a machine with so many devices."""

    def count() -> int:
        if isinstance(devices, Exception):
            raise devices
        return devices

    runtime = SimpleNamespace(
        CUDARuntimeError=RuntimeApiError,
        getDeviceCount=count,
        getDeviceProperties=lambda device: {"name": b"NVIDIA Imaginary"},
    )
    pool = SimpleNamespace(free_all_blocks=lambda: None)
    cuda = SimpleNamespace(runtime=runtime, Device=lambda: SimpleNamespace(id=0))
    return SimpleNamespace(cuda=cuda, get_default_memory_pool=lambda: pool)


@pytest.mark.parametrize(
    ("cupy", "reason"),
    [
        (None, r"CuPy cannot be imported|CuPy is not installed \(pip install"),
        (
            fake_cupy(RuntimeApiError("cudaErrorInsufficientDriver: too old\nmore")),
            r"no GPU answers \(cudaError[^\n]*old\)",
        ),
        (fake_cupy(0), "this machine has no CUDA device"),
    ],
    ids=["no_cupy", "no_driver", "no_device"],
)
def test_without_a_gpu_auto_is_numpy_and_cupy_says_why_not(monkeypatch, cupy, reason):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert isinstance(get_ops("auto", 1), NumpyOps)
    with pytest.raises(UserError, match=f"backend=cupy cannot run: .*{reason}") as caught:
        get_ops("cupy")
    assert "\n" not in str(caught.value)


def test_a_missing_cupy_comes_with_the_command_that_installs_it(monkeypatch):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "cupy":
                raise ModuleNotFoundError("No module named 'cupy'", name="cupy")

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    assert "pip install -e '.[cuda13]'" in gpu_missing()


@pytest.mark.parametrize("name", ["auto", "cupy"])
def test_with_a_gpu_both_names_are_cupy(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(1))
    ops = get_ops(name, cublas=True)
    assert isinstance(ops, CupyOps)
    assert (ops.device, ops.cublas) == ("NVIDIA Imaginary", True)
