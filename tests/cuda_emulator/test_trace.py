"""The address trace: kernels whose bank conflicts and sectors are known by counting."""

import numpy as np
import pytest

from cuda_emulator import Emulator, EmulatorError
from cuda_emulator.trace import Accesses, total

CODE = """
__global__ void shared_by_stride(float* y, int stride) {
  __shared__ float tile[32 * 33];
  tile[threadIdx.x * stride] = 1.f;
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x * stride];
}

template <class T>
__global__ void shared_vectors(T* y, int stride) {
  __shared__ T tile[32 * 8];
  tile[threadIdx.x * stride] = T{};
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x * stride];
}

__global__ void copy_by_stride(const float* x, float* y, int stride) {
  y[threadIdx.x] = x[threadIdx.x * stride];
}

struct alignas(32) Eight { float at[8]; };
struct Three { float at[3]; };

template <class T>
__global__ void copy_structs(const T* x, T* y) { y[threadIdx.x] = x[threadIdx.x]; }

__global__ void copy_shifted(const float* x, float* y, int by) { y[threadIdx.x] = x[threadIdx.x + by]; }

__global__ void half_of_the_lanes(const float* x, float* y) {
  if (threadIdx.x % 2) y[threadIdx.x] = x[threadIdx.x];
}

__global__ void same_for_all(const float* x, float* y) { y[threadIdx.x] = x[5]; }

// Lanes go round as often as their number says; behind the barrier all take part again.
__global__ void unlike_loops(const float* x, float* y) {
  float sum = 0.f;
  for (int half = 0; half < 2; ++half) {
    const int rounds = half ? 1 : threadIdx.x;
    for (int i = 0; i < rounds; ++i) sum += x[32 * i + threadIdx.x];
    __syncthreads();
  }
  y[threadIdx.x] = sum;
}

__global__ void both_memories(const float* x, const float* z, float* y) {
  __shared__ float tile[64];
  tile[threadIdx.x] = z[2 * threadIdx.x];
  tile[threadIdx.x + 32] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x] + tile[63 - threadIdx.x];
}

__global__ void too_far(float* x) { x[threadIdx.x + 1] = 0.f; }
"""
NAMES = (
    *("shared_by_stride", "shared_vectors<float2>", "shared_vectors<float4>", "copy_by_stride", "copy_structs<Eight>"),
    *("copy_structs<Three>", "copy_shifted", "half_of_the_lanes", "same_for_all", "unlike_loops", "both_memories"),
    "too_far",
)


class Traced:
    """The kernels above, and a trace of what they have done since the last question."""

    def __init__(self) -> None:
        self.xp = Emulator("traced")
        self.module = self.xp.RawModule(code=CODE, name_expressions=NAMES)

    def __call__(self, name, *args, block=32, grid=1):
        self.xp.trace.clear()
        self.module.get_function(name)((grid,), (block,), args)
        return self.xp.trace.lines()

    def floats(self, count):
        return self.xp.asarray(np.ones(count, np.float32))


@pytest.fixture(scope="module")
def traced() -> Traced:
    return Traced()


def only(lines, space, kind, array=None) -> Accesses:
    found = [line for line in lines if (line.space, line.kind) == (space, kind) and array in (None, line.array)]
    assert found
    return total(found)


@pytest.mark.parametrize(("stride", "ways"), [(1, 1), (2, 2), (3, 1), (4, 4), (32, 32), (33, 1)])
def test_the_ways_of_a_stride(traced, stride, ways):
    xp = traced.xp
    lines = traced("shared_by_stride", xp.zeros(32, np.float32), np.int32(stride))
    for kind in ("load", "store"):
        found = only(lines, "shared", kind)
        assert (found.count, found.most_ways, found.ways) == (1, ways, ways)


@pytest.mark.parametrize(("name", "parts"), [("float2", 2), ("float4", 4)])
@pytest.mark.parametrize(("stride", "ways"), [(1, 1), (2, 2), (4, 4)])
def test_wide_accesses_take_a_pass_for_half_or_a_quarter_of_the_warp(traced, name, parts, stride, ways):
    lines = traced(f"shared_vectors<{name}>", traced.floats(32 * parts), np.int32(stride))
    found = only(lines, "shared", "load")
    assert (found.count, found.passes, found.least) == (1, parts * ways, parts)


@pytest.mark.parametrize(("stride", "sectors"), [(1, 4), (2, 8), (4, 16), (8, 32), (50, 32)])
def test_the_sectors_of_a_stride(traced, stride, sectors):
    lines = traced("copy_by_stride", traced.floats(32 * stride), traced.floats(32), np.int32(stride))
    found = only(lines, "global", "load")
    assert (found.count, found.sectors, found.useful) == (1, sectors, 128)
    assert found.efficiency == 4 / sectors
    assert only(lines, "global", "store").efficiency == 1


def test_an_array_that_is_no_whole_number_of_sectors_begins_at_one_as_on_a_gpu(traced):
    assert (
        only(traced("copy_shifted", traced.floats(35), traced.floats(32), np.int32(0)), "global", "load").sectors == 4
    )
    assert (
        only(traced("copy_shifted", traced.floats(35), traced.floats(32), np.int32(1)), "global", "load").sectors == 5
    )


def test_a_struct_is_moved_in_the_largest_parts_that_its_size_allows(traced):
    eight = only(traced("copy_structs<Eight>", traced.floats(256), traced.floats(256)), "global", "load")
    assert (eight.count, eight.sectors, eight.efficiency) == (2, 64, 0.5)  # two of 16 bytes, each half of a sector
    three = only(traced("copy_structs<Three>", traced.floats(96), traced.floats(96)), "global", "load")
    assert (three.count, three.sectors) == (3, 36)


def test_lanes_that_skip_an_access_take_no_part(traced):
    found = only(traced("half_of_the_lanes", traced.floats(32), traced.floats(32)), "global", "load")
    assert (found.count, found.sectors, found.useful) == (1, 4, 64)


def test_what_all_lanes_read_alike_is_counted_apart(traced):
    lines = traced("same_for_all", traced.floats(6), traced.floats(64), block=64)
    found = only(lines, "global", "load")
    assert (found.count, found.uniform, found.sectors, found.efficiency) == (2, 2, 0, 1)


def test_a_barrier_brings_lanes_together_again(traced):
    found = only(traced("unlike_loops", traced.floats(32 * 32), traced.floats(32)), "global", "load")
    assert found.count == 31 + 1
    assert found.useful == 4 * (sum(range(32)) - 1 + 32)  # the last round of the first loop is one lane's own
    assert found.uniform == 1


def test_a_line_names_its_place_and_its_array(traced):
    lines = traced("both_memories", traced.floats(32), traced.floats(64), traced.floats(32))
    where = {(line.space, line.kind, line.array): line for line in lines}
    numbers = {text.strip(): f"kernel.cu:{number}" for number, text in enumerate(CODE.splitlines(), 1)}
    z, x = where["global", "load", "z"], where["global", "load", "x"]
    assert z.places == (numbers["tile[threadIdx.x] = z[2 * threadIdx.x];"],)
    assert x.places == (numbers["tile[threadIdx.x + 32] = x[threadIdx.x];"],)
    assert (z.accesses.efficiency, x.accesses.efficiency) == (0.5, 1)
    assert {line.array for line in lines if line.space == "shared"} == {""}
    assert {line.kernel for line in lines} == {"both_memories"}


def test_launches_add_up(traced):
    x, y = traced.floats(64), traced.floats(32)
    once = total(traced("copy_by_stride", x, y, np.int32(2)))
    assert total(traced("copy_by_stride", x, y, np.int32(2), grid=1)) == once
    traced.module.get_function("copy_by_stride")((1,), (32,), (x, y, np.int32(2)))
    twice = total(traced.xp.trace.lines())
    assert (twice.count, twice.sectors, twice.useful) == (2 * once.count, 2 * once.sectors, 2 * once.useful)


def test_the_traced_build_still_checks(traced):
    with pytest.raises(EmulatorError, match="out of bounds"):
        traced("too_far", traced.floats(32))


@pytest.mark.parametrize("mode", ["fast", "checked"])
def test_other_modes_trace_nothing(mode):
    xp = Emulator(mode)
    kernel = xp.RawModule(code=CODE, name_expressions=NAMES).get_function("copy_by_stride")
    kernel((1,), (32,), (xp.asarray(np.ones(32, np.float32)), xp.zeros(32, np.float32), np.int32(1)))
    assert xp.trace.lines() == []
