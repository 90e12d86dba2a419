"""The gate of the tensor-core kernels' machine code: what it holds, and that it notices what it is for."""

import dataclasses
import shutil

import pytest

from benchmarks.kernels.compiled import Record
from benchmarks.kernels.disassembly import Loop, disassembler, main_loop, operation
from benchmarks.main_loops import (
    BLOCKS,
    EXCEPTIONS,
    RECORD,
    TABLE,
    WARPGROUP_BLOCKS,
    Row,
    compiled,
    fingerprint_of,
    jobs,
    measure,
    recorded,
    render,
    render_record,
    rows_of,
    tensor_kernels,
)
from cnn.kernels import FOLDER, KERNELS
from cnn.kernels.nvrtc import Resources

LISTING = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_0:
        /*0010*/                   LDG.E R2, [R4] ;
        /*0020*/              @P0  BRA `(.L_x_0) ;
.L_x_1:
        /*0030*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;
.L_x_2:
        /*0040*/              @!PT LDS RZ, [RZ] ;
        /*0050*/                   NOP ;
        /*0060*/               @P3 LDGSTS.E.BYPASS.128 [R9], desc[UR4][R2.64] ;
        /*0070*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;
        /*0080*/              @!P0 BRA `(.L_x_3) ;
        /*0090*/                   BRA `(.L_x_2) ;
.L_x_3:
        /*00a0*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;
        /*00b0*/              @UP1 BRA `(.L_x_2) ;
        /*00c0*/                   EXIT ;
"""


def test_the_main_loop_is_the_one_that_multiplies_most():
    loop = main_loop(LISTING)
    assert [operation(text) for text in loop.instructions] == [
        *("LDGSTS.E.BYPASS.128", "HMMA.16816.F32.BF16", "BRA", "BRA", "HMMA.16816.F32.BF16", "BRA"),
    ]
    assert loop.counts["HMMA"] == 2
    assert loop.fraction == pytest.approx(2 / 6)
    with pytest.raises(ValueError, match="no loop multiplies"):
        main_loop(LISTING.replace("HMMA", "FFMA"))


def test_products_of_warpgroups_count_by_their_width():
    """128x256 in steps of 64: four products, each of 64 columns' worth of cycles for both warpgroups of a quarter."""
    kernel = KERNELS["tensor_forward_128x256x64_warpgroups4_bf16"]
    loop = main_loop(LISTING.replace("HMMA.16816", "HGMMA.64x256x16"))
    assert loop.counts["HGMMA"] == 2
    row = Row(kernel, 90, Loop([*loop.instructions, *["HGMMA"] * 2]), Resources(128, 0, 0, 0, 0, 0))
    assert row.issued == pytest.approx(2 * 8 / (4 * 2 * 128))
    read, copied, multiplied = 8 * (64 + 256) * 16 * 2, (128 + 256) * 64 * 2, 128 * 256 * 64
    assert row.cycles == pytest.approx((read + copied) / 128 / (multiplied / 2048))


def test_every_kernel_is_judged_and_every_exception_names_one():
    kernels = [kernel.name for kernel in tensor_kernels()]
    assert kernels == [name for name in KERNELS if name.startswith("tensor_")]
    judged = jobs()
    assert {kernel.name for kernel, _ in judged} == set(kernels)
    for kernel, architecture in judged:
        assert kernel.runs_on(architecture)
    for pattern in EXCEPTIONS:
        assert any(name.endswith(pattern.removeprefix("*")) for name in kernels), pattern
    assert all(min(planned.values()) > 0 for planned in [*BLOCKS.values(), WARPGROUP_BLOCKS])


@pytest.fixture(scope="module")
def tools(nvrtc):
    """NVRTC's version; tests that use this are skipped where it or the disassembler is missing."""
    if disassembler() is None:
        pytest.skip("nvdisasm is not installed: pip install nvidia-cuda-nvdisasm")
    return nvrtc


@pytest.fixture(scope="module")
def rows(tools) -> list[Row]:
    """All main loops: the recorded ones that are of today's kernels, the others compiled."""
    return measure(Record(RECORD))


@pytest.mark.slow
def test_main_loops_keep_to_their_limits(rows):
    assert [fault for row in rows for fault in row.faults()] == []


@pytest.fixture(scope="module")
def table(tools) -> str:
    text = TABLE.read_text(encoding="utf-8")
    if "NVRTC {}.{} ".format(*tools) not in text:
        pytest.skip("the committed table is of another NVRTC; machine code differs between versions")
    return text


def test_committed_table_and_record_are_of_todays_kernels(table, tools):
    record = Record(RECORD)
    found = [recorded(record, *job) for job in jobs()]
    assert [str(job) for job, row in zip(jobs(), found, strict=True) if row is None] == [], "make main-loops"
    assert rows_of(table) == rows_of(render(found, tools)), "make main-loops"


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [80, 90, 120], ids="sm_{}".format)
def test_the_compiler_makes_today_what_is_recorded(table, tools, architecture):
    """Of one kernel for each architecture, others when the kernels change; `--check` compares all."""
    kernels = [kernel for kernel, each in jobs() if each == architecture]
    kernel = kernels[int(fingerprint_of(kernels[0], architecture), 16) % len(kernels)]
    if row := recorded(Record(RECORD), kernel, architecture):
        assert render_record([compiled(kernel, architecture)]) == render_record([row]), "make check-compiled"


FORWARD = "tensor_forward_128x128x64_bf16"
WARPGROUP_FORWARD = "tensor_forward_256x128x64_warpgroups4_bf16"
WARPGROUP_FILTER = "tensor_backward_filter_128x128x64_warpgroups6_bf16"
# The file, what stands there, what comes in its place, the kernel and architecture that show it, what is said.
FAULTS = {
    "a division in the loop": (
        "convolution_tensor.cu",
        "kBytesA, filter_offset, channel);",
        "kBytesA, filter_offset + channel / g.stride_w, channel);",
        FORWARD,
        90,
        "in the loop",
    ),
    "a plain load in the loop": (
        "convolution_tensor.cu",
        "kBytesA, filter_offset, channel);",
        "kBytesA, filter_offset + images[channel].bits / 65535, channel);",
        FORWARD,
        90,
        "1 LDG in the loop",
    ),
    "a second barrier": (
        "tensor_gemm.cuh",
        "    multiply_step<Tile>(sums,",
        "    __syncthreads();\n    multiply_step<Tile>(sums,",
        FORWARD,
        90,
        "2 barriers, not one",
    ),
    "copies of four bytes": (
        "ptx.cuh",
        'cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(copy ? 16 : 0)',
        'cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(copy ? 4 : 0)',
        FORWARD,
        90,
        "copies of less than 16 bytes",
    ),
    "arithmetic among the multiplications": (
        "tensor_gemm.cuh",
        "multiply_bfloat16(sums[i][j], left[i], *b0, *b1);\n",
        "multiply_bfloat16(sums[i][j], left[i], *b0, *b1);\n"
        '        asm volatile("add.f32 %0, %0, 0f00000001;" : "+f"(sums[i][j][0]));\n',
        FORWARD,
        90,
        "of the loop multiply, less than 45%",
    ),
    "a sum of warpgroups that is changed while products run": (
        "warpgroup_gemm.cuh",
        "    commit_products();\n    if",
        "    commit_products();\n    sums[0][0][0] += 1.f;\n    if",
        WARPGROUP_FILTER,
        90,
        "waits for products",
    ),
    "no fence between copies and products by warpgroups": (
        "warpgroup_gemm.cuh",
        "    publish_copies();\n",
        "",
        WARPGROUP_FORWARD,
        90,
        "0 fences between copies and products, not one",
    ),
    "products by warpgroups that are waited for at once": (
        "warpgroup_gemm.cuh",
        "if (!DRAINED) wait_for_products<1>();",
        "wait_for_products<0>();",
        WARPGROUP_FORWARD,
        90,
        "not one that leaves 0x1",
    ),
    "a group for every 16 numbers of the sum": (
        "warpgroup_gemm.cuh",
        "advanced(b, k * kStepB));\n      }\n",
        "advanced(b, k * kStepB));\n      }\n      commit_products();\n",
        WARPGROUP_FORWARD,
        90,
        "groups of products, not one",
    ),
    "masks that are computed among products by warpgroups": (
        "convolution_tensor.cu",
        "!(outside[i] & tap)",
        "!(taps_outside(static_cast<int>(outside[i]), g.dilation_h, g.kh, g.h) & tap)",
        WARPGROUP_FORWARD,
        90,
        "instructions a cycle of the products, more than 0.5",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_noticed(fault, tools, tmp_path):
    file, old, new, name, architecture, said = FAULTS[fault]
    for path in FOLDER.glob("*.cu*"):
        shutil.copy(path, tmp_path)
    text = (tmp_path / file).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (tmp_path / file).write_text(text.replace(old, new), encoding="utf-8")
    row = compiled(KERNELS[name], architecture, tmp_path)
    faults = row.faults()
    assert any(said in each for each in faults), faults
    # As it would be recorded, too.
    assert any(said in each for each in dataclasses.replace(row, loop=Loop.of(row.loop.counted)).faults())


@pytest.mark.slow
def test_small_warps_read_their_operands_too_often(tools):
    kernel = KERNELS[FORWARD]
    tile = dataclasses.replace(kernel.tiling.tile, warp_m=32, warp_n=32)
    small = dataclasses.replace(
        kernel,
        expression=f"tensor_forward{tile.template}",
        tiling=dataclasses.replace(kernel.tiling, tile=tile),
        block=(tile.threads,),
    )
    faults = " ".join(compiled(small, 90).faults())
    assert "shared-memory cycles a multiplication, more than 1.75" in faults
    assert "more than one for four" in faults
