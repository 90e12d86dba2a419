"""Mutants of merge.cuh and moments.cuh, and of how other files use them."""

from functools import partial

from kernel_mutants.mutant import Mutant

_merge = partial(Mutant, "merge.cuh")
_moments = partial(Mutant, "moments.cuh")
_channels = partial(Mutant, "channels.cuh")
_tensor = partial(Mutant, "tensor_gemm.cuh")

_UNSEEN = "the emulator runs one thread at a time: it asks for the fence before the meeting, and cannot see this one"

MERGING = [
    # --- where blocks meet ---
    _merge(
        "barrier", "a block arrives before its threads have written", "__syncthreads();  // all threads", ";  // all"
    ),
    _merge("fence", "none before a block arrives", "    __threadfence();\n    last =", "    last ="),
    _merge(
        "fence",
        "none behind the meeting",
        "sets it to 0\n    __threadfence();\n",
        "sets it to 0\n",
        may_survive=_UNSEEN,
    ),
    _merge(
        "barrier",
        "threads read before the first one knows that all have arrived",
        "return __syncthreads_or(last);",
        "return last || threadIdx.x;",
    ),
    _merge("reset", "the counter is not 0 again", "atomicInc(counter, count - 1)", "atomicAdd(counter, 1u)"),
    _merge(
        "reset",
        "the counter starts again one arrival late",
        "atomicInc(counter, count - 1) == count - 1",
        "atomicInc(counter, count) == count - 1",
    ),
    _merge("race", "the first block to arrive merges", "count - 1) == count - 1;", "count - 1) == 0;"),
    _merge("race", "the last but one merges", "count - 1) == count - 1;", "count - 1) == (count > 1 ? count - 2 : 0);"),
    _merge("race", "the counter is no atomic one", "atomicInc(counter, count - 1)", "(*counter)++"),
    _merge(
        "cache",
        "parts come through the L1 cache",
        "__ldcg(reinterpret_cast<const float4*>(p + k))",
        "*reinterpret_cast<const float4*>(p + k)",
        may_survive="memory is coherent in the emulator",
    ),
    # --- groups of groups ---
    _merge("index", "groups share a counter", "arrives_last(counters + group,", "arrives_last(counters,", 1, 2),
    _merge(
        "index", "groups of groups share a counter", "arrives_last(counters + group,", "arrives_last(counters,", 2, 2
    ),
    _merge("index", "one block alone does no other work", "(MEANWHILE && step == 1)", "false"),
    _merge(
        "index",
        "other work is done at every level",
        ": arrives_last(counters + group, members);",
        ": arrives_last(counters + group, members, meanwhile);",
        may_survive="it is the same work again",
    ),
    _merge(
        "index",
        "groups of groups meet where groups do",
        "    counters += (count - 1) / (step * FAN_IN) + 1;\n",
        "",
    ),
    _merge(
        "index",
        "the counters of groups of groups begin one too early",
        "(count - 1) / (step * FAN_IN) + 1;",
        "(count - 1) / (step * FAN_IN);",
    ),
    _merge(
        "bound",
        "the last group waits for members that there are not",
        "min(FAN_IN, (count - first",
        "max(FAN_IN, (count - first",
    ),
    _merge(
        "bound",
        "the last group's last member is lost",
        "(count - first + step - 1) / step)",
        "max(1u, (count - first) / step))",
    ),
    _merge(
        "reduction",
        "only the first groups are merged",
        "step < count || (MEANWHILE && step == 1); step *= FAN_IN",
        "step < min(count, FAN_IN) || (MEANWHILE && step == 1); step *= FAN_IN",
    ),
    _merge("index", "what a group has stays where its last block was", "    own = first;\n", ""),
    _merge(
        "reduction", "what a group has is not published", "    publish(own);\n", "    if (step == 1) publish(own);\n"
    ),
    # --- parts of a product ---
    _merge("index", "every tile's parts in the same place", "(tile * splits + part)", "(part)"),
    _merge("index", "tiles share counters", "split, splits, counters + tile * splits,", "split, splits, counters,"),
    _merge(
        "index",
        "threads' numbers overlap",
        "FOURS * THREADS + threadIdx.x) * 4;",
        "FOURS * THREADS + threadIdx.x / 2) * 4;",
    ),
    _merge("initial value", "a block's own part counts twice", "v[0] = v[1] = v[2] = v[3] = 0.f;", ";"),
    _merge(
        "reduction",
        "the first member is left out",
        "unsigned member = 0; member < members; ++member) {\n          const float* from",
        "unsigned member = 1; member < members; ++member) {\n          const float* from",
    ),
    _merge(
        "index",
        "members are neighbours on every level",
        "place(first + member * step);\n#pragma",
        "place(first + member);\n#pragma",
    ),
    # --- parts in rows ---
    _merge(
        "index",
        "rows: members are neighbours on every level",
        "(first + member * step) * pitch + i",
        "(first + member) * pitch + i",
    ),
    _merge("index", "rows: the result is left in the parts", "step * kAtOnce < count ? parts", "true ? parts"),
    _merge("index", "rows: every level's sums are the result", "step * kAtOnce < count ? parts", "false ? parts"),
    _merge(
        "bound",
        "rows: numbers beyond the first round are lost",
        "i < size; i += threads",
        "i < min(size, threads); i += threads",
    ),
    # --- sums over chunks of rows ---
    _channels(
        "index",
        "tiles of channels share counters",
        "blockIdx.y, gridDim.y, counters + blockIdx.x * gridDim.y,",
        "blockIdx.y, gridDim.y, counters,",
    ),
    _channels(
        "index", "chunks' sums overlap", "parts + (chunk * SETS + set) * walk.c", "parts + (chunk + set) * walk.c"
    ),
    _channels(
        "index",
        "merged: members are neighbours on every level",
        "place(first + member * step, set)",
        "place(first + member, set)",
    ),
    _channels(
        "index", "merged: the first set for all", "merged.add(set * N + k, part.at[k])", "merged.add(k, part.at[k])"
    ),
    _channels("index", "sums change places", "store_floats(results[set]", "store_floats(results[SETS - 1 - set]"),
    _channels(
        "race", "every block writes its sums", "  if (!all || !walk.first) return;\n", "  if (!walk.first) return;\n"
    ),
    # --- moments ---
    _moments(
        "statistics",
        "merging gives both variances half",
        "variance[k] * weight + other.variance[k] * other_weight",
        "variance[k] * 0.5f + other.variance[k] * 0.5f",
    ),
    _moments("statistics", "merging means gives both sides half", "step = delta * other_weight", "step = delta * 0.5f"),
    _moments("statistics", "merging forgets that means differ", " + step * (delta * weight)", ""),
    _moments(
        "overflow",
        "merging squares the difference of means",
        "step * (delta * weight)",
        "delta * delta * (weight * other_weight)",
    ),
    _moments("statistics", "merging nothing with nothing divides by zero", "if (other.count == 0.f) return;", ""),
    # --- moments of tiles ---
    _tensor(
        "index",
        "moments: every tile's are written over the first's",
        "static_cast<size_t>(number) * 2 * columns",
        "static_cast<size_t>(0) * 2 * columns",
    ),
    _tensor(
        "index",
        "moments: members are neighbours on every level",
        "number = first + member * step;",
        "number = first + member;",
    ),
    _tensor(
        "statistics",
        "moments: tiles count alike, though the last has fewer rows",
        "min(rows - static_cast<int>(number) * Tile::BM, static_cast<int>(step) * Tile::BM)",
        "static_cast<int>(step) * Tile::BM",
    ),
    _tensor("statistics", "moments: merged tiles count as one", "static_cast<int>(step) * Tile::BM);", "Tile::BM);"),
    _tensor(
        "reduction",
        "moments: one lane's alone",
        "own = merge_lanes(own, kLanes, Tile::BN, reinterpret_cast<Moments<1>*>(shared));",
        ";",
    ),
    _tensor(
        "index",
        "moments: mean and variance change places",
        "result[columns + column] = own.variance[0];",
        "result[columns + column] = own.mean[0];",
    ),
    _tensor(
        "bound",
        "moments: a column beyond the last",
        "const bool exists = column < columns",
        "const bool exists = column <= columns",
    ),
]
