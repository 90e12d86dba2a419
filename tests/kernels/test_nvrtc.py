"""Every kernel compiles for every architecture, keeps to its registers, and is what the table says it is."""

import dataclasses
import json
import sys

import numpy as np
import pytest

from benchmarks import kernel_resources
from benchmarks.kernels.compiled import Record, fingerprint, rendered
from benchmarks.kernels.occupancy import LIMITS, occupancy
from cnn.kernels import FOLDER, KERNELS, STRUCTS, kernels_of, source_names
from cnn.kernels.nvrtc import (
    ARCHITECTURES,
    CompileError,
    NvrtcMissingError,
    compile_file,
    compile_text,
    machine_code,
    nvrtc_version,
    read_ptxas,
)
from foundation.extras import install_command
from kernels.cuda_text import global_functions, kernel_files, struct_file, struct_members

C_TYPES = {
    "int": np.int32,
    "unsigned": np.uint32,
    "float": np.float32,
    "double": np.float64,
    "longlong": np.int64,
    "unsignedlonglong": np.uint64,
    **STRUCTS,
}
C_NAMES = {np.dtype(dtype): name for name, dtype in STRUCTS.items()} | {
    np.dtype(np.float32): "float",
    np.dtype(np.int32): "int",
    np.dtype(np.uint32): "unsigned",
    np.dtype(np.int64): "long long",
    np.dtype(np.uint64): "unsigned long long",
    np.dtype(np.uint8): "unsigned char",
    np.dtype(np.uint16): "bfloat16",
    np.dtype(np.float64): "double",
}
SAME = "template <class A, class B> constexpr bool same = false; template <class A> constexpr bool same<A, A> = true;"


def local_memory(compiled) -> list[str]:
    """The kernels that keep some of a thread's values in local memory."""
    return [
        f"{name}: {used.spills} bytes spilled, {used.stack} bytes of stack on sm_{compiled.architecture}"
        for name, used in compiled.kernels.items()
        if used.spills or used.stack
    ]


# --- compiling ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids="sm_{}".format)
@pytest.mark.parametrize("source", source_names())
def test_compiles_without_local_memory(compiled, source, architecture):
    result = compiled(source, architecture)
    assert list(result.kernels) == [kernel.name for kernel in kernels_of(source, architecture)]
    assert result.cubin_bytes > 0 or not result.kernels  # no kernel of the file runs on this architecture
    # 128: a loop that no instance of a template reaches, behind an `if` on a template argument
    warnings = [warning for warning in result.warnings if "#128-D" not in warning]
    assert not warnings, "\n".join(warnings)
    assert not local_memory(result)
    for name, used in result.kernels.items():
        fits = kernel_resources.occupancy_of(KERNELS[name], architecture, used)
        most = LIMITS[architecture].shared - LIMITS[architecture].shared_reserved
        # What a device has no shared memory for is never chosen: test_tile_choice.py.
        assert fits.blocks > 0 or KERNELS[name].shared_bytes > most, f"{name} fits on no device"


# A thousand threads leave each 64 registers, of which 96 values want one.
SPILLING = """
__global__ void __launch_bounds__(1024) spilling(const float* x, float* y, int n) {
  float v[96];
  for (int i = 0; i < 96; ++i) v[i] = x[i * n + threadIdx.x];
  for (int j = 0; j < n; ++j) {
#pragma unroll
    for (int i = 0; i < 96; ++i) v[i] = v[i] * v[(i + 7) % 96] + x[j];
  }
  for (int i = 0; i < 96; ++i) y[i * n + threadIdx.x] = v[i];
}
"""


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids="sm_{}".format)
def test_notices_a_kernel_that_spills(nvrtc, architecture):
    result = compile_text(SPILLING, "spilling.cu", {"spilling": "spilling"}, architecture)
    assert len(local_memory(result)) == 1
    assert result.kernels["spilling"].spill_stores > 0
    assert result.kernels["spilling"].spill_loads > 0


def test_notices_a_local_array(nvrtc):
    text = """
__global__ void indexed(const int* at, float* y) {
  float v[64];
  for (int i = 0; i < 64; ++i) v[at[i]] = i;
  y[threadIdx.x] = v[at[threadIdx.x]];
}
"""
    (complaint,) = local_memory(compile_text(text, "indexed.cu", {"indexed": "indexed"}, 90))
    assert complaint == "indexed: 0 bytes spilled, 256 bytes of stack on sm_90"


def test_reads_shared_memory_and_names_of_templates(nvrtc):
    text = """
template <int N> __global__ void shifted(float* y) {
  __shared__ float all[N];
  all[threadIdx.x] = y[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = all[N - 1 - threadIdx.x];
}
"""
    names = {"small": "shifted<64>", "large": "shifted<2 * 128>"}
    result = compile_text(text, "shifted.cu", names, 75)
    assert {name: used.shared for name, used in result.kernels.items()} == {"small": 256, "large": 1024}
    assert all(used.registers > 0 and used.constant > 0 for used in result.kernels.values())


def test_reads_what_ptxas_says_of_a_called_function():
    log = """\
ptxas info    : Compiling entry function '_Z5outerPf' for 'sm_75'
ptxas info    : Function properties for _Z5outerPf
ptxas         .     8 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 9 registers, used 1 barriers, 48 bytes cumulative stack size, 512 bytes smem, 360 bytes cmem[0], \
16 bytes cmem[2]
ptxas info    : Function properties for _Z5innerf
ptxas         .     40 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
"""
    used = read_ptxas(log)["_Z5outerPf"]
    assert (used.registers, used.shared, used.stack, used.constant) == (9, 512, 48, 376)
    assert (used.spill_stores, used.spill_loads, used.spills) == (4, 12, 16)


def test_syntax_error_names_file_and_line(nvrtc):
    with pytest.raises(CompileError) as caught:
        compile_text("__global__ void f(float* y) {\n  y[0] = 1.f\n}\n", "broken.cu", {"f": "f"}, 75)
    assert (caught.value.file, caught.value.line) == ("broken.cu", 3)
    assert str(caught.value).startswith('broken.cu:3: expected a ";" (compiling broken.cu for sm_75)\n')
    assert '1 error detected in the compilation of "broken.cu"' in caught.value.log


def test_error_in_a_header_names_the_header(nvrtc, tmp_path):
    (tmp_path / "broken.cuh").write_text("\n\nint f( { return 1; }\n")
    with pytest.raises(CompileError) as caught:
        compile_text('#include "broken.cuh"\n', "sound.cu", {}, 90, tmp_path)
    assert (caught.value.file, caught.value.line) == (f"{tmp_path}/broken.cuh", 3)


def test_unknown_name_points_at_the_table(nvrtc):
    with pytest.raises(CompileError) as caught:
        compile_text("__global__ void f() {}", "sound.cu", {"g": "g<1>"}, 75)
    first = str(caught.value).splitlines()[0]
    assert first == 'sound.cu, a name in the kernel table: identifier "g" is undefined (compiling sound.cu for sm_75)'


def test_error_of_the_assembler_is_reported(nvrtc):
    text = (
        "__global__ void f(float* y) { __shared__ float s[20000]; s[threadIdx.x] = y[0]; __syncthreads(); *y = s[9]; }"
    )
    with pytest.raises(CompileError, match=r"^large.cu: .*too much shared data.* \(compiling large.cu for sm_90\)"):
        compile_text(text, "large.cu", {"f": "f"}, 90)


def test_warnings_are_kept(nvrtc):
    result = compile_text("__global__ void f() {\n  int unused;\n}\n", "idle.cu", {"f": "f"}, 75)
    assert result.warnings == ('idle.cu(2): warning #177-D: variable "unused" was declared but never referenced',)


WARPGROUP = """
#include "ptx.cuh"
__global__ void multiplied(float* y) {
  extern __shared__ __align__(1024) unsigned char shared[];
  float sums[8][4];
  for (int i = 0; i < 32; ++i) sums[i / 4][i % 4] = y[i];
  const MatrixView a = matrix_view(shared_address(shared), 0);
  settle_sums(sums);
  begin_products();
  multiply_warpgroup<false, false>(sums, a, a);
  multiply_warpgroup<false, false>(sums, a, a);
  commit_products();
  wait_for_products<0>();
  settle_sums(sums);
  for (int i = 0; i < 32; ++i) y[i] = sums[i / 4][i % 4];
}
"""


def test_a_target_has_instructions_that_its_plain_architecture_lacks(nvrtc):
    names = {"multiplied": "multiplied"}
    compiled = compile_text(WARPGROUP, "wide.cu", names, 90, target="90a")
    assert compiled.kernels["multiplied"].registers > 32
    assert compiled.warnings == ()
    with pytest.raises(CompileError, match=r"wgmma.*not supported.*\(compiling wide.cu for sm_90\)"):
        compile_text(WARPGROUP, "wide.cu", names, 90)


def test_products_that_ptxas_serializes_are_warned_of(nvrtc):
    product = "  multiply_warpgroup<false, false>(sums, a, a);\n"
    added = WARPGROUP.replace(2 * product, f"{product}  sums[0][0] += 1.f;\n{product}")
    (warning,) = compile_text(added, "wide.cu", {"multiplied": "multiplied"}, 90, target="90a").warnings
    assert "wgmma.mma_async instructions are serialized" in warning


def test_missing_nvrtc_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(NvrtcMissingError) as caught:
        nvrtc_version()
    assert str(caught.value).startswith(f"NVRTC 12.8 or newer is needed: {install_command('kernels')} (")
    assert "\n" not in str(caught.value)


def test_old_nvrtc_is_refused(nvrtc, monkeypatch):
    monkeypatch.setattr("cnn.kernels.nvrtc.OLDEST_NVRTC", (99, 1))
    message = rf"^NVRTC {nvrtc[0]}\.{nvrtc[1]} is too old for the kernels: 99\.1 or newer is needed$"
    with pytest.raises(NvrtcMissingError, match=message):
        nvrtc_version()


# --- the committed table ------------------------------------------------------------------------------------------


def committed_table() -> str:
    return kernel_resources.TABLE.read_text(encoding="utf-8")


def test_committed_table_lists_the_kernels():
    assert list(kernel_resources.rows_of(committed_table())) == list(KERNELS)


@pytest.fixture(scope="module")
def record(nvrtc) -> Record:
    version = "{}.{}".format(*nvrtc)
    if f"NVRTC {version} " not in committed_table():
        pytest.skip(f"the committed table is of another NVRTC than {version}; registers differ between versions")
    return Record(kernel_resources.RECORD)


def test_committed_table_and_record_are_of_todays_kernels(record, nvrtc):
    found = {
        (source, architecture): kernel_resources.recorded(record, source, architecture)
        for source in source_names()
        for architecture in ARCHITECTURES
    }
    assert [job for job, result in found.items() if result is None] == [], "make kernel-resources"
    wanted = kernel_resources.render(kernel_resources.by_kernel(found.values()), nvrtc)
    assert kernel_resources.rows_of(committed_table()) == kernel_resources.rows_of(wanted), "make kernel-resources"


@pytest.mark.slow
@pytest.mark.parametrize("source", source_names())
def test_the_compiler_makes_today_what_is_recorded(record, source):
    """Of one kernel of the file for one architecture, others when the file changes; `--check` compares all."""
    number = int(kernel_resources.fingerprint_of(source, max(ARCHITECTURES)), 16)
    architecture = ARCHITECTURES[number % len(ARCHITECTURES)]
    kernels = kernels_of(source, architecture) or kernels_of(source, architecture := max(ARCHITECTURES))
    kernel = kernels[number % len(kernels)]
    if result := kernel_resources.recorded(record, source, architecture):
        _, used, _ = machine_code(kernel, architecture)
        assert result.kernels[kernel.name] == used, f"{kernel.name} on sm_{architecture}: make check-compiled"


@pytest.fixture
def kernel_folder(tmp_path):
    """A folder with one small kernel file."""
    (tmp_path / "used.cuh").write_text("#define MOST 4\n")
    (tmp_path / "other.cuh").write_text("#define MOST 5\n")
    (tmp_path / "arrays.cu").write_text('#include "used.cuh"\n__global__ void f(float* y) { *y = MOST; }\n')
    return tmp_path


def test_a_fingerprint_is_of_all_that_the_compiler_is_given(kernel_folder):
    kernel = kernels_of("arrays.cu")[0]

    def of(kernels=(kernel,), architecture=90, version=(13, 0), **readers):
        return fingerprint(kernels, architecture, version, kernel_folder, **readers)

    before = of()
    assert before == of()
    seen = {
        before,
        of(architecture=80),
        of(version=(13, 1)),
        of([kernel, *kernels_of("arrays.cu")[1:2]]),
        of([dataclasses.replace(kernel, expression="other<float>")]),
        of([dataclasses.replace(kernel, target="90a")]),
        of(readers=[kernel_folder / "other.cuh"]),
    }
    for file in ("arrays.cu", "used.cuh"):
        text = (kernel_folder / file).read_text()
        (kernel_folder / file).write_text(text.replace("MOST", "LEAST"))
        seen.add(of())
        (kernel_folder / file).write_text(f"// changed\n{text} /* MOST */\n")
        assert of() == before
        (kernel_folder / file).write_text(text)
    assert len(seen) == 9
    (kernel_folder / "other.cuh").write_text("")
    assert of() == before


def test_a_record_has_only_results_of_the_fingerprint_asked_for(tmp_path):
    path = tmp_path / "record.json"
    assert Record(path).find("a", "12") is None
    path.write_text(rendered({"a": ("12", [1, "x"]), "b": ("13", {"c": 2})}))
    assert len(path.read_text().splitlines()) == 4
    record = Record(path)
    assert (record.find("a", "12"), record.find("b", "13")) == ([1, "x"], {"c": 2})
    assert record.find("a", "13") is None
    assert record.find("c", "12") is None


def test_a_file_is_compiled_unless_it_is_recorded(nvrtc, tmp_path, monkeypatch):
    """What is recorded comes back as it was; of another text, the file is compiled."""
    compiled = compile_file("arrays.cu", 90)
    record = tmp_path / "record.json"
    record.write_text(kernel_resources.render_record([compiled]))
    assert kernel_resources.recorded(Record(record), "arrays.cu", 90) == compiled
    assert kernel_resources.recorded(Record(record), "arrays.cu", 80) is None
    entries = json.loads(record.read_text())
    (entry,) = entries.values()
    first = next(iter(entry["result"]["kernels"]))
    entry["result"]["kernels"][first][3] = 8  # bytes spilled
    record.write_text(json.dumps(entries))
    monkeypatch.setattr(kernel_resources, "ARCHITECTURES", (90,))
    (spilling,) = kernel_resources.measure(["arrays.cu"], Record(record))
    assert local_memory(spilling) == [f"{first}: 8 bytes spilled, 0 bytes of stack on sm_90"]
    entry["of"] = "another"
    record.write_text(json.dumps(entries))
    assert kernel_resources.measure(["arrays.cu"], Record(record)) == [compiled]


def test_limits_are_known_of_every_architecture():
    assert tuple(LIMITS) == ARCHITECTURES


@pytest.mark.parametrize(
    ("architecture", "threads", "registers", "shared", "blocks", "limit"),
    [
        (75, 256, 20, 0, 4, "threads"),
        (80, 32, 16, 0, 32, "blocks"),
        (86, 256, 128, 0, 2, "registers"),
        (90, 128, 96, 17408, 5, "registers"),
        (90, 128, 32, 48 * 1024, 4, "shared memory"),
        (90, 96, 168, 0, 4, "registers"),  # the four parts of the register file hold three warps each
        (120, 128, 32, 24 * 1024, 4, "shared memory"),  # 100 KiB hold four of 24 KiB and the 1 KiB reserved of each
    ],
)
def test_occupancy(architecture, threads, registers, shared, blocks, limit):
    found = occupancy(architecture, threads, registers, shared)
    assert (found.blocks, found.limit) == (blocks, limit)
    assert found.threads == blocks * threads


# --- the kernel table and the text of the kernels -----------------------------------------------------------------


def test_every_file_is_in_the_table():
    assert kernel_files() == sorted(source_names())


@pytest.mark.parametrize("source", kernel_files())
def test_every_kernel_is_in_the_table(source):
    named = {kernel.expression.partition("<")[0] for kernel in kernels_of(source)}
    assert named == set(global_functions(source))


@pytest.mark.parametrize("name", KERNELS)
def test_parameter_names_are_those_of_the_kernel(name):
    kernel = KERNELS[name]
    declared = global_functions(kernel.source)[kernel.expression.partition("<")[0]]
    names = [parameter.split()[-1].lstrip("*&") for parameter in declared.split(",")]
    assert [argument.name for argument in kernel.arguments] == names


@pytest.mark.parametrize("source", kernel_files())
def test_parameter_types_are_those_of_the_kernel(nvrtc, source):
    asserts = [SAME]
    for kernel in kernels_of(source):
        types = ", ".join(
            f"{'const ' if argument.const else ''}{C_NAMES[argument.dtype]}{'*' if argument.pointer else ''}"
            for argument in kernel.arguments
        )
        asserts.append(f'static_assert(same<decltype(&{kernel.expression}), void (*)({types})>, "{kernel.name}");')
    compile_text("\n".join([f'#include "{source}"', *asserts]), f"signatures of {source}", {}, max(ARCHITECTURES))


@pytest.mark.parametrize("name", STRUCTS)
def test_struct_is_mirrored(name):
    members = []
    for member in struct_members(name):
        dtype = np.uint64 if member.type.endswith("*") else C_TYPES[member.type]
        members.append((member.name, np.dtype(dtype), member.count))
    fields = []
    for field in STRUCTS[name].names:
        dtype = STRUCTS[name][field]
        fields.append((field, dtype.base, dtype.shape[0] if dtype.shape else None))
    assert members == fields


@pytest.mark.parametrize("name", STRUCTS)
def test_mirrored_struct_has_the_same_layout(nvrtc, name):
    struct = STRUCTS[name]
    asserts = [f'static_assert(sizeof({name}) == {struct.itemsize}, "size");']
    for field in struct.names:
        dtype, offset = struct.fields[field][:2]
        asserts.append(f'static_assert(__builtin_offsetof({name}, {field}) == {offset}, "place of {field}");')
        asserts.append(f'static_assert(sizeof({name}::{field}) == {dtype.itemsize}, "size of {field}");')
    compile_text("\n".join([f'#include "{FOLDER / struct_file(name)}"', *asserts]), f"{name}.cu", {}, 75)
