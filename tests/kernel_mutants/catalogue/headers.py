"""Mutants of the headers that many kernels share."""

from functools import partial

from kernel_mutants.mutant import Mutant

_channels = partial(Mutant, "channels.cuh")
_divmod = partial(Mutant, "fast_divmod.cuh")
_elementwise = partial(Mutant, "elementwise.cuh")
_philox = partial(Mutant, "philox.cuh")
_reduce = partial(Mutant, "reduce.cuh")
_storage = partial(Mutant, "storage.cuh")
_vectors = partial(Mutant, "vectors.cuh")
_window = partial(Mutant, "window.cuh")

HEADERS = [
    # --- channels.cuh: how a block walks over rows of channels ---
    _channels("tail", "the rows left over by equal chunks are lost", "(rows + chunks - 1) / chunks", "rows / chunks"),
    _channels("bound", "the last chunk goes on beyond the rows", "min(rows, begin + length)", "begin + length"),
    _channels("tail", "channels that no equal tiles hold are lost", "(columns + gridDim.x - 1)", "columns"),
    _channels("bound", "a tile goes on beyond the channels", "lane < lanes && column < columns", "lane < lanes"),
    _channels("index", "the four channels of a thread overlap the next thread's", "column * N;", "column;"),
    _channels("index", "every lane starts at the chunk's first row", "chunk.begin + lane", "chunk.begin"),
    _channels("bound", "a chunk takes the first row of the next", "r < end; r += lanes", "r <= end; r += lanes"),
    _channels("reduction", "every lane writes its own result", "first = active && lane == 0", "first = active"),
    _channels("index", "sums from the first, not from where asked", "at[first + k]", "at[k]"),
    _channels("reduction", "of two sums the second alone stays", "at[k] += other.at[k]", "at[k] = other.at[k]"),
    _channels("vector", "vectors although channels do not come in packs", "c % N == 0 && (...", "(..."),
    _channels("vector", "vectors at any address", " && (... && packs_at<N>(arrays))", ""),
    _channels(
        "index",
        "a thread's numbers per channel repeat every four",
        "some = load_pack<kStep>(p + k)",
        "some = load_pack<kStep>(p)",
    ),
    _channels("vector", "results per channel as vectors at any address", "packs_at<kStep>(p)", "true", 2, 2),
    # --- fast_divmod.cuh ---
    _divmod("division", "the dividend is not added", "multiplier) + n) >> shift", "multiplier)) >> shift"),
    _divmod("division", "the multiplier is one too small", "multiplier) + n)", "multiplier - 1) + n)"),
    # --- elementwise.cuh: grid-stride loops ---
    _elementwise(
        "tail",
        "one input: the elements beyond the last pack are lost",
        "i < count; i += grid_threads()) assign(y[i], f(loaded(x[i])))",
        "i < packs * 4; i += grid_threads()) assign(y[i], f(loaded(x[i])))",
    ),
    _elementwise(
        "tail",
        "two inputs: the last element is lost",
        "i < count; i += grid_threads()) {\n    assign",
        "i + 1 < count; i += grid_threads()) {\n    assign",
    ),
    _elementwise("index", "two inputs: packs begin an element apart", "load_pack<4>(b + i * 4)", "load_pack<4>(b + i)"),
    _elementwise(
        "vector", "one input: vectors at any address of y", "packs_at<4>(x) && packs_at<4>(y) ?", "packs_at<4>(x) ?"
    ),
    _elementwise(
        "grid",
        "the grid counts a block too many",
        "{ return gridDim.x * blockDim.x",
        "{ return (gridDim.x + 1) * blockDim.x",
    ),
    _elementwise(
        "grid", "a thread takes one pack and no more", "i < packs; i += grid_threads()", "i < packs; i += packs", 2, 2
    ),
    # --- philox.cuh ---
    _philox("random", "nine rounds", "round < 10", "round < 9"),
    _philox("random", "a wrong digit in the first multiplier", "0xD2511F53ull", "0xD2511F52ull"),
    _philox("random", "a wrong digit in the second Weyl constant", "0xBB67AE85u", "0xBB67AE84u"),
    _philox("random", "the first key word twice", "counter.w ^ key.y", "counter.w ^ key.x"),
    _philox(
        "random",
        "the step's halves the wrong way round",
        "key.step_low, key.step_high)",
        "key.step_high, key.step_low)",
    ),
    _philox("random", "the seed's high word is not used", "key.seed_low, key.seed_high)", "key.seed_low, 0)"),
    _philox(
        "random",
        "the high half of a word before the low one",
        "? both >> 16 : both & 0xFFFFu",
        "? both & 0xFFFFu : both >> 16",
    ),
    _philox("random", "the step's high word is lost", "static_cast<unsigned>(step >> 32)", "0u"),
    _philox("random", "the words' order is turned", "? words.x : k == 1 ? words.y", "? words.y : k == 1 ? words.x"),
    _philox("random", "blocks are counted from one", "make_uint4(block,", "make_uint4(block + 1,"),
    # --- reduce.cuh ---
    _reduce("reduction", "half of the warp is left out", "int reach = 16", "int reach = 8"),
    _reduce("reduction", "the least for the largest", "return fmaxf(a, b)", "return fminf(a, b)"),
    _reduce("rounding", "long sums: what is lost is dropped", "? sum + lost : sum", "? sum : sum"),
    _reduce(
        "rounding", "long sums: half of what is lost", "(sum - (next - added)) + (number - added)", "number - added"
    ),
    _reduce("NaN", "long sums: the loss of an infinite sum counts", "fabsf(lost) <= kLargestFloat ? ", "true ? "),
    _reduce("mask", "half of the warp is not named", "0xffffffffu", "0x0000ffffu"),
    _reduce(
        "barrier",
        "none before the warps' sums are read",
        "threadIdx.x / 32] = value;\n  __syncthreads();",
        "threadIdx.x / 32] = value;",
    ),
    _reduce("reduction", "the last warp's sum is lost", "i < THREADS / 32; ++i", "i < THREADS / 32 - 1; ++i"),
    _reduce(
        "barrier", "none between handing over and merging", "__syncthreads();  // one is enough", "// one is enough"
    ),
    _reduce("tail", "an odd lane is lost", "(lanes + 1) / 2", "lanes / 2"),
    _reduce("bound", "a lane beyond the last is merged", "lane + half < lanes)", "lane + half <= lanes)"),
    _reduce("index", "lanes are a thread apart", "half * width]", "half]"),
    _reduce("bound", "the first lane that should hand over does not", "if (half <= lane &&", "if (half < lane &&"),
    # --- storage.cuh: packs, and bfloat16 ---
    _storage("vector", "packs at any address", "% sizeof(Pack<T, N>) == 0", "% sizeof(T) == 0"),
    _storage("rounding", "bfloat16: towards zero", "bits + 0x7FFFu + (bits >> 16 & 1u)", "bits"),
    _storage("rounding", "bfloat16: ties away from zero", "0x7FFFu + (bits >> 16 & 1u)", "0x8000u"),
    _storage("rounding", "bfloat16: ties to odd", "0x7FFFu + (bits >> 16 & 1u)", "0x8000u - (bits >> 16 & 1u)"),
    _storage("NaN", "bfloat16: a NaN is rounded like a number", "value == value ? rounded", "true ? rounded"),
    _storage("NaN", "bfloat16: a NaN without its quiet bit", "bits | 0x400000u", "bits"),
    _storage("index", "bfloat16: the lower half", "(value.bits) << 16", "(value.bits)"),
    _storage("index", "packs: a value is loaded twice", "= stored.value(k);", "= stored.value(k / 2 * 2);"),
    # --- vectors.cuh ---
    _vectors(
        "index", "the second component and the third change places", "? v.y : i == 2 ? v.z", "? v.z : i == 2 ? v.y"
    ),
    _vectors("vector", "a vector is read where nothing is valid", "return valid > 0 ? ", "return true ? "),
    _vectors("tail", "a fourth value is read where three are valid", "valid > 3", "valid > 2"),
    _vectors("tail", "the second of two valid values is not read", "valid > 1", "valid > 2"),
    _vectors(
        "initial value",
        "what is outside counts as one",
        "make_float4(0.f, 0.f, 0.f, 0.f)",
        "make_float4(0.f, 0.f, 0.f, 1.f)",
    ),
    # --- window.cuh ---
    _window("tap", "a window's rows and columns change places", "int kh, kw;", "int kw, kh;"),
    _window("stride", "the two strides change places", "int stride_h, stride_w,", "int stride_w, stride_h,"),
    _window("dilation", "the two dilations change places", "dilation_h, dilation_w,", "dilation_w, dilation_h,"),
    _window("padding", "padding on top and on the left change places", "top, left;", "left, top;"),
]
