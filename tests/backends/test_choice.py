"""Which backend a name gets, and what is said where it cannot be had."""

import re
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from cnn.backends import Ops, get_ops, gpu_missing
from cnn.backends.cuda import CudaOps
from foundation.errors import UserError
from foundation.extras import install_command


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
        (None, r"CuPy cannot be imported|CuPy is not installed \(.* -m pip install"),
        (
            fake_cupy(RuntimeApiError("cudaErrorInsufficientDriver: too old\nmore")),
            r"no GPU answers \(cudaError[^\n]*old\)",
        ),
        (fake_cupy(0), "this machine has no CUDA device"),
    ],
    ids=["no_cupy", "no_driver", "no_device"],
)
def test_without_a_gpu_auto_is_the_engine_and_cupy_says_why_not(monkeypatch, cupy, reason):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert get_ops("auto", 1).name == ("cpu" if find_spec("numba") else "numpy")
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
    assert install_command("cuda13") in gpu_missing()


@pytest.mark.parametrize("name", ["auto", "cupy"])
def test_with_a_gpu_both_names_are_cupy(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(1))
    ops = get_ops(name, cublas=True)
    assert isinstance(ops, CudaOps)
    assert (ops.device, ops.cublas) == ("NVIDIA Imaginary", True)


def test_without_numba_auto_is_the_reference_and_cpu_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert type(get_ops("auto")) is Ops
    with pytest.raises(UserError, match=f"backend=cpu needs Numba: {re.escape(install_command('fast'))}") as caught:
        get_ops("cpu")
    assert "\n" not in str(caught.value)


def test_an_unknown_algorithm_is_refused():
    with pytest.raises(UserError, match=r"backend\.convolution is 'fft'; choose one of: auto, tune, im2col"):
        get_ops("cpu", 1, convolution="fft")
