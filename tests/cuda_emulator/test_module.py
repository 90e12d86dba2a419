"""Compiling: names, signatures, headers, options, the cache, and the places that messages name."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cuda_emulator import Emulator, EmulatorError, build_cache, toolchain
from cuda_emulator.runtime_library import runtime
from cuda_emulator.source import plain_kernels, translation_unit

NEGATE = """
#include "sign.cuh"
template <class T> __global__ void templated(T* y) { y[threadIdx.x] = SIGN * T(threadIdx.x); }
static __global__ void __launch_bounds__(64) plain(int* y) { y[threadIdx.x] = sign() * int(threadIdx.x); }
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of its own, empty but for the runtime."""
    build_cache.cache_folder().mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("CNN_EMULATOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def headers(tmp_path):
    folder = tmp_path / "headers"
    folder.mkdir()
    (folder / "sign.cuh").write_text("__device__ int sign() { return SIGN; }\n")
    (folder / "unused.cuh").write_text("\n")
    return folder


def test_signatures_are_what_the_compiler_saw(fast):
    scalars = ["float32", "int32", "bool", "int64", "uint8", "float64", "float64*"]
    assert fast.module.signature("scalars") == scalars
    assert fast.kernel("by_struct").signature == ["const float32*", "float32*", "struct:12", "int32"]
    assert fast.kernel("atomics").signature == ["int32*", "uint32*", "float32*", "uint64*"]
    assert fast.kernel("add_vectors").signature == ["const struct:16*", "const struct:16*", "struct:16*"]
    assert fast.kernel("copy_bytes").signature == ["const uint8*", "uint8*", "int32"]


def test_kernels_are_found_in_the_text():
    assert plain_kernels(NEGATE + "// __global__ void comment() {}") == ("plain",)
    text = 'extern "C" __global__ __launch_bounds__(32 * (2 + 1)) void first(int n) {}\n__global__\nvoid second() {}'
    assert plain_kernels(text) == ("first", "second")


def test_names_options_and_the_cache(cache, headers):
    options = ("-std=c++17", f"-I{headers}", "-DSIGN=-1", "-DNEVER_USED=1", "--use_fast_math")
    names = ["plain", "templated<float>"]
    first = Emulator().RawModule(code=NEGATE, options=options, name_expressions=names)
    y, z = Emulator().empty(4, np.int32), Emulator().empty(4, np.float32)
    first.get_function("plain")((1,), (4,), (y,))
    first.get_function("templated<float>")((1,), (4,), (z,))
    assert y.tolist() == z.tolist() == [0, -1, -2, -3]
    with pytest.raises(EmulatorError, match="no kernel is called 'missing'; there are: plain, templated<float>"):
        first.get_function("missing")
    (library,) = cache.glob("fast-*.so")

    def again(*changed, **more):
        Emulator(**more).RawModule(code=NEGATE, options=changed or options, name_expressions=names).get_function(
            "plain"
        )
        return len(list(cache.glob("*.so")))

    os.utime(library, (0, time.time() - 1000))
    assert again() == 1
    assert time.time() - library.stat().st_mtime < 500  # marked as used
    assert again(options[0], options[1], "-DSIGN=-1", "-DNEVER_USED=2") == 1
    (headers / "unused.cuh").write_text("int other;\n")
    assert again() == 1
    assert again(options[1], "-DSIGN=1") == 2
    assert again(mode="checked") == 3
    (headers / "sign.cuh").write_text("__device__ int sign() { return 2; }\n")
    assert again() == 4
    assert not list(cache.glob("building-*"))


def test_what_nobody_uses_goes(cache):
    (cache / "prelude-old").mkdir(parents=True)
    old, new, header = cache / "fast-old.so", cache / "fast-new.so", cache / "prelude-old" / "prelude.h.gch"
    for file in (old, new, header):
        file.touch()
    for file in (old, header):
        os.utime(file, (0, time.time() - 40 * 24 * 3600))
    build_cache.build("fast-made.so", [["cp", "given", "output"]], {"given": "x"})
    assert sorted(file.name for file in cache.rglob("*.*")) == ["fast-made.so", "fast-new.so"]


def test_two_processes_may_build_the_same_file(cache):
    script = (
        "from cuda_emulator import Emulator\n"
        "code = 'extern \"C\" __global__ void one(int* y) { *y = 1; }'\n"
        "y = Emulator().empty(1, 'int32')\n"
        "Emulator().RawModule(code=code).get_function('one')((1,), (1,), (y,))\n"
        "assert y[0] == 1\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    # The runtime takes long to build, so it is there already.
    cache.mkdir()
    os.link(runtime()._name, cache / Path(runtime()._name).name)
    processes = [subprocess.Popen([sys.executable, "-c", script], env=environment) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert sorted(path.name.partition("-")[0] for path in cache.iterdir()) == ["fast", "prelude", "runtime"]


def test_a_compiler_error_names_the_line_of_the_kernel_file():
    code = 'extern "C" __global__ void f(int* y) {\n  __shared__ int\n    a;\n  *y = unknown;\n}\n'
    with pytest.raises(EmulatorError, match=r"kernel.cu:4:\d+: error: .unknown. was not declared"):
        Emulator().RawModule(code=code).get_function("f")


def test_a_function_that_the_emulator_lacks_is_named():
    code = '__device__ int elsewhere(int); extern "C" __global__ void f(int* y) { *y = elsewhere(3); }'
    with pytest.raises(EmulatorError, match=r"uses what the emulator does not have: .*elsewhere"):
        Emulator().RawModule(code=code).get_function("f")


def test_a_report_follows_the_calls_into_a_header(tmp_path):
    (tmp_path / "load.cuh").write_text("\n\n__device__ float load(const float* x) {\n  return x[100];\n}\n")
    code = '#include "load.cuh"\n\nextern "C" __global__ void f(const float* x, float* y) {\n\n  *y = load(x);\n}\n'
    (tmp_path / "caller.cu").write_text(code)
    for mode in ("fast", "checked"):
        xp = Emulator(mode)
        kernel = xp.RawModule(code=code, options=(f"-I{tmp_path}",)).get_function("f")
        with pytest.raises(EmulatorError, match=r"byte offset 400 .*at load.cuh:4 < caller.cu:5$"):
            kernel((1,), (1,), (xp.zeros(100, np.float32), xp.empty(1, np.float32)))


def test_only_macros_and_headers_that_matter_are_in_the_key(headers):
    def key(*options):
        return translation_unit(NEGATE, (f"-I{headers}", *options), ("plain",)).key

    assert key("-DSIGN=1") == key("-DSIGN=1", "-DOTHER=3", "-G")
    assert key("-DSIGN=1") != key("-DSIGN=2")


def test_an_emulator_that_cannot_run_says_why(monkeypatch):
    toolchain.unavailable.cache_clear()
    monkeypatch.setattr(toolchain.shutil, "which", lambda tool: None)
    assert toolchain.unavailable() == "the CUDA emulator needs g++"
    toolchain.unavailable.cache_clear()
    monkeypatch.setattr(toolchain.platform, "machine", lambda: "aarch64")
    assert "needs Linux on x86-64" in toolchain.unavailable()
    monkeypatch.undo()
    toolchain.unavailable.cache_clear()
    assert toolchain.unavailable() is None
