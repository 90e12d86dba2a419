"""Mutants of ptx.cuh, tensor_gemm.cuh, warpgroup_gemm.cuh and convolution_tensor.cu."""

from functools import partial

from kernel_mutants.mutant import Mutant

_gemm = partial(Mutant, "tensor_gemm.cuh")
_warpgroup = partial(Mutant, "warpgroup_gemm.cuh")
_conv = partial(Mutant, "convolution_tensor.cu")

TENSOR = [
    Mutant(
        "ptx.cuh",
        "mask",
        "zeros are copied, too",
        "copy ? 16 : 0",
        "16",
        may_survive="the emulator puts a header of its own in this one's place",
    ),
    # --- the pipeline ---
    _gemm(
        "barrier",
        "one step too few is waited for",
        "wait_for_copies<Tile::STAGES - 2>",
        "wait_for_copies<Tile::STAGES - 1>",
    ),
    _gemm("barrier", "none between a step and the next", "__syncthreads();  // everyone's", ";  // everyone's"),
    _gemm(
        "split",
        "steps that copy nothing make no group",
        "if (step + Tile::STAGES - 1 < steps) fetch(shared + writing);\n    commit_copies();",
        "if (step + Tile::STAGES - 1 < steps) { fetch(shared + writing); commit_copies(); }",
    ),
    _gemm(
        "index",
        "copies begin one stage too early",
        "writing = (Tile::STAGES - 1) * Tile::kStageBytes",
        "writing = (Tile::STAGES - 2) * Tile::kStageBytes",
    ),
    _gemm("index", "the last stage is never used", "offset == (Tile::STAGES - 1)", "offset == (Tile::STAGES - 2)"),
    _gemm("initial value", "sums do not begin at zero", "sum[0] = sum[1] = 0.f", "sum[0] = 0.f, sum[1] = 1.f"),
    _gemm("tail", "the first step is fetched though there is none", "if (s < steps) fetch", "fetch"),
    # --- swizzle and fragments ---
    _gemm("bank", "chunks do not trade places", "((chunk ^ turn) << 4)", "(chunk << 4)"),
    _gemm("bank", "two rows of four chunks meet", "(row & 1) << 2 | (row >> 1 & 3)", "(row & 7)"),
    _gemm("bank", "rows of four chunks trade places every row", "PITCH == 64 ? row >> 1 & 3", "PITCH == 64 ? row & 3"),
    _gemm("index", "the halves of a change places", "result = IS_A ? second : third", "result = IS_A ? third : second"),
    _gemm(
        "index",
        "an operand along the result is not transposed",
        "load_matrices_transposed(r, operand",
        "load_matrices(r, operand",
    ),
    _gemm(
        "index",
        "b's registers change places",
        "*b0 = &right[j / 2][j % 2 * 2], *b1 = b0 + 1",
        "*b0 = &right[j / 2][j % 2], *b1 = b0 + 2",
    ),
    _gemm(
        "index",
        "rows of a piece lie four apart",
        "i * 16 * kPitch + (lane_offset ^ k * 32)",
        "i * 8 * kPitch + (lane_offset ^ k * 32)",
    ),
    # --- the way out ---
    _gemm(
        "bias",
        "the second column gets the first one's bias",
        "sum[e] += bias[n0 + column + e]",
        "sum[e] += bias[n0 + column]",
    ),
    _gemm("bound", "biases beyond the last column are read", "if (bias && n0 + column < columns)", "if (bias)"),
    _gemm("relu", "ReLU keeps what is negative", "relu && sum[e] < 0.f", "relu && sum[e] > 0.f"),
    _gemm("bound", "sums beyond the last column are written", "if (first + j * 8 < columns) *", "*"),
    _gemm("bound", "sums of rows that do not exist are written", "    if (offset < 0) continue;\n", ""),
    _gemm("bound", "rounded rows that do not exist are written", "if (offsets[row] >= 0) work(row)", "work(row)"),
    _gemm("bound", "chunks beyond the last column are written", "if (n0 + chunk() * 8 >= columns) return;", ""),
    _gemm("added", "nothing is added", "if (added) v =", "if (false) v ="),
    _gemm("moments", "the mean of the sums less their shift", "__uint_as_float(bits << 16) + mean", "mean"),
    _gemm("moments", "the mean of squares for the variance", "square / rows - mean * mean", "square / rows"),
    _gemm(
        "barrier",
        "none before threads' sums are added up",
        "    __syncthreads();\n    Moments<1> result{};",
        "    Moments<1> result{};",
    ),
    _gemm(
        "barrier",
        "none before rounded chunks are read",
        "    __syncthreads();\n  }\n\n  // The chunk of",
        "  }\n\n  // The chunk of",
    ),
    # --- products by warpgroups ---
    _warpgroup(
        "barrier",
        "one step of copies too few is waited for",
        "wait_for_copies<Tile::kAhead - 1>",
        "wait_for_copies<Tile::kAhead>",
    ),
    _warpgroup("barrier", "none between a step and the next", "__syncthreads();  // everyone's", ";  // everyone's"),
    _warpgroup(
        "race",
        "a stage is filled whose products were just begun, of tiles that wait for all",
        "    if (DRAINED) wait_for_products<0>();\n",
        "",
    ),
    _warpgroup(
        "race",
        "a stage is filled whose products may run on, of tiles that do not",
        "if (!DRAINED) wait_for_products<1>();",
        "if (!DRAINED) wait_for_products<2>();",
    ),
    _warpgroup("race", "copies run a step too far ahead", "DRAINED ? STAGES - 1 : STAGES - 2", "STAGES - 1"),
    _warpgroup(
        "fence",
        "copies are not made visible to products",
        "    publish_copies();\n",
        "",
        may_survive="the emulator does not know of it; the gate of main loops asks for one fence",
    ),
    _warpgroup("wait", "sums are read before the last products end", "  wait_for_products<0>();\n  settle", "  settle"),
    _warpgroup("wait", "products make no group", "    commit_products();\n", ""),
    _warpgroup(
        "split",
        "steps that copy nothing make no group",
        "if (step + Tile::kAhead < steps) fetch(shared + writing);\n    commit_copies();",
        "if (step + Tile::kAhead < steps) { fetch(shared + writing); commit_copies(); }",
    ),
    _warpgroup("initial value", "sums do not begin at zero", "sum[0] = sum[1] = 0.f", "sum[0] = 0.f, sum[1] = 1.f"),
    _warpgroup("tail", "the first step is fetched though there is none", "if (s < steps) fetch", "fetch"),
    _warpgroup(
        "index",
        "copies begin one stage too early",
        "writing = Tile::kAhead * Tile::kStageBytes",
        "writing = (Tile::kAhead - 1) * Tile::kStageBytes",
    ),
    _warpgroup("swizzle", "chunks do not trade places", "((chunk % 8 ^ row % 8) << 4)", "(chunk % 8 << 4)"),
    _warpgroup("swizzle", "rows trade places by pairs", "(chunk % 8 ^ row % 8)", "(chunk % 8 ^ row / 2 % 8)"),
    _warpgroup("index", "the next 64 columns lie in the same rows", "kEight = BK * 128", "kEight = 128"),
    _warpgroup("index", "the next 64 columns are read too early", "kNextBlock = Tile::BK * 128", "kNextBlock = 128"),
    _warpgroup(
        "index", "both warpgroups multiply the upper rows", "shared + reading + half * kPieceA", "shared + reading"
    ),
    _warpgroup(
        "index", "the lower half of the rows begins at 64", "threadIdx.x / 128 * (BM / 2)", "threadIdx.x / 128 * 64"
    ),
    _warpgroup("index", "pieces of rows lie 32 apart", "kPieceA = 64 * 128", "kPieceA = 32 * 128"),
    _warpgroup(
        "index", "a's next numbers along the sum are eight rows further", "kByResultA ? 2048", "kByResultA ? 1024"
    ),
    _warpgroup("index", "b's next numbers along the sum overlap", "kByResultB ? 2048 : 32", "kByResultB ? 2048 : 16"),
    _warpgroup("index", "a for b", "shared + reading + Tile::kBytesA", "shared + reading"),
    _warpgroup("index", "half a step is multiplied", "k < Tile::BK / 16", "k < Tile::BK / 32"),
    _warpgroup("index", "pairs of columns are four apart", "threadIdx.x % 4 * 2", "threadIdx.x % 4 * 4"),
    # --- gathered pixels ---
    _conv(
        "mask",
        "the first tap inside the image is left out",
        "min(max(-first, 0), taps)",
        "min(max(1 - first, 0), taps)",
    ),
    _conv("mask", "a tap behind the image is inside", "max(size - first, begin)", "max(size - first + 1, begin)"),
    _conv(
        "bound",
        "a row below the image is inside",
        "static_cast<unsigned>(size) ? 0u",
        "static_cast<unsigned>(size + 1) ? 0u",
    ),
    _conv("dilation", "taps lie side by side", "first + tap * dilation)", "first + tap)"),
    _conv("bound", "pixels behind the last are copied", "pixel >= g.rows ? ~0u", "pixel >= g.rows ? 0u"),
    _conv("mask", "rows' taps for columns'", "1u << row | 0x10000u << column", "1u << column | 0x10000u << row"),
    _conv("stride", "the horizontal stride for rows", "top = down * g.stride_h,", "top = down * g.stride_w,"),
    _conv(
        "mask", "channels that do not exist are copied", "!(outside[i] & tap) && channels_exist", "!(outside[i] & tap)"
    ),
    _conv("mask", "taps outside of the image are copied", "!(outside[i] & tap) && channels_exist", "channels_exist"),
    _conv(
        "tail", "lines of filters beyond the last channel", "rows = !kSum ? room - channel :", "rows = !kSum ? room :"
    ),
    _conv("tail", "filters beyond the last column", "room = kSum ? g.n - n0 - row :", "room = kSum ? Tile::BN :"),
    _conv(
        "tap",
        "rows of taps for columns",
        "row * g.w_down + column * g.w_across",
        "row * g.w_across + column * g.w_down",
    ),
    _conv("tap", "the next row of taps is never reached", "if (++tap_row == g.kh)", "if (g.kh > 0)"),
    _conv("tap", "the next channels are never reached", "tap_row = 0, channel += Tile::BK", "tap_row = 0"),
    _conv("tap", "every step reads the images' first channels", "+ g.left) * g.c + channel;", "+ g.left) * g.c;"),
    _conv(
        "tap",
        "every step reads the filters' first channels",
        "filters.tap_offset(tap_row, tap_column) + filters.channel_offset(channel)",
        "filters.tap_offset(tap_row, tap_column)",
    ),
    _conv("index", "channels of filters lie side by side", "kSum ? channel : channel * g.n", "channel"),
    _conv("split", "every part begins at the first step", "first = blockIdx.z * g.steps_per_split", "first = 0"),
    _conv("split", "a part begins at a wrong channel", "channel = first_step / taps * Tile::BK", "channel = 0"),
    _conv("split", "a part begins at the first tap", "first_tap = first_step % taps", "first_tap = 0"),
    _conv(
        "split",
        "the last part goes on behind the sum",
        "min(all_steps - first, g.steps_per_split)",
        "g.steps_per_split",
    ),
    _conv(
        "race",
        "every part of a filter gradient is written",
        "splits, parts, counters)) return;\n  store_sums",
        "splits, parts, counters)) {}\n  store_sums",
        may_survive="the emulator runs one block after another, and the last, which has the whole sum, writes last",
    ),
    _conv(
        "race",
        "every part of a gathered product is written",
        "splits, parts, counters)) return;\n  add_bias",
        "splits, parts, counters)) {}\n  add_bias",
    ),
    _conv("moments", "columns of tiles share counters", "blockIdx.x % column_tiles * row_tiles", "0"),
    _conv("barrier", "none before the stages are written over", "__syncthreads();  // the stages", ";  // the stages"),
    _conv("moments", "rows that do not exist count", "min(g.rows - m0, Tile::BM)", "Tile::BM"),
    _conv("stride", "a parity class is written side by side", "down * g.step_h + g.first_h", "down + g.first_h"),
    _conv("index", "a class begins at the first column", "across * g.step_w + g.first_w", "across * g.step_w"),
    # --- the filter gradient ---
    _conv("bound", "pixels behind a part's last count", "exists = pixel < end", "exists = true"),
    _conv(
        "bound",
        "columns beside the image are read",
        "static_cast<unsigned>(j) < static_cast<unsigned>(g.w);",
        "static_cast<unsigned>(j) < static_cast<unsigned>(g.w + 1);",
    ),
    _conv("tap", "taps lie in columns", "tap % g.kw * g.dilation_w", "tap / g.kw * g.dilation_w"),
    _conv(
        "tail",
        "rows beyond the last tap are read",
        "row < rows ? g.top",
        "true ? g.top",
        may_survive="they are pixels inside the image, for sums that are not written; the guard saves their copies",
    ),
    _conv(
        "index", "every chunk of rows is of the first channels", "channels[k] = row % g.c +", "channels[k] = 0 * row +"
    ),
    _conv("tap", "all rows of a block are of its first tap", "FITS && !Tile::kWarpgroups", "FITS"),
    _conv("mask", "the first tap's pixels for all", "inside[k % kTaps]);", "inside[0]);"),
    _conv("index", "the eighth chunk lies in the same row", "k / 8 * A::kEight", "k / 8 * 128"),
    _conv("bank", "chunks of dy do not trade places", "(to_b ^ low) + high", "to_b + low + high"),
    _conv(
        "tail",
        "filters beyond the last are copied",
        "exists && (FITS || k * kLanes * Tile::kChunk < filters_left)",
        "exists",
    ),
    _conv(
        "split", "the second part begins where the first does", "begin = blockIdx.z * g.pixels_per_split", "begin = 0"
    ),
]
