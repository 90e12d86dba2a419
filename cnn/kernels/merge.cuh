// Blocks merge what each of them has in the launch that computes it, always in the same order: no block waits for another
// one, the last of a group to arrive merges what the group has. How many there are must follow from the shape alone.
#pragma once
#include "reduce.cuh"
#include "storage.cuh"

// Whether this block is the last of `count` blocks to arrive here, when it has written what the others may read. The
// counter must be 0 before the first arrives, and is 0 again behind the last one, so that a captured launch can be
// replayed. The last block finds what the others wrote if it reads by `merged_load`. Meanwhile the threads do other work,
// on memory that no other block reads: the first one joins late, as it waits until the block's writes before are seen by all.
// Called by the whole block.
template <class Work>
__device__ __forceinline__ bool arrives_last(unsigned* counter, unsigned count, Work meanwhile) {
  bool last = false;
  __syncthreads();  // all threads have written
  if (threadIdx.x == 0 && threadIdx.y == 0) {
    __threadfence();
    last = atomicInc(counter, count - 1) == count - 1;  // which sets it to 0
    __threadfence();
  }
  meanwhile();
  return __syncthreads_or(last);
}
__device__ __forceinline__ bool arrives_last(unsigned* counter, unsigned count) {
  return arrives_last(counter, count, [] {});
}

// The N floats at p, which other blocks of this launch wrote: from the L2 cache, as the L1 cache may have older ones. Where
// N comes in fours p is a multiple of 16 bytes.
template <int N>
__device__ __forceinline__ Pack<float, N> merged_load(const float* p) {
  Pack<float, N> values;
#pragma unroll
  for (int k = 0; k < N; k += N % 4 ? 1 : 4) {
    if constexpr (N % 4 == 0) {
      const float4 v = __ldcg(reinterpret_cast<const float4*>(p + k));
      values.at[k] = v.x, values.at[k + 1] = v.y, values.at[k + 2] = v.z, values.at[k + 3] = v.w;
    } else {
      values.at[k] = __ldcg(p + k);
    }
  }
  return values;
}

// Merges what `count` blocks have, of which this is number `own`: neighbours in groups of FAN_IN, these groups' results in
// groups of FAN_IN, until there is one. publish(i) writes what this block has to place i of the blocks' results;
// merge(first, step, members) replaces it by the results at first, first + step, ..., merged in this order. True for the
// one block that has all. It takes less than `count` counters; none for one block. With MEANWHILE every block does the work
// of meanwhile() while it meets the others, and a single one meets itself, which takes a counter. Called by the whole block.
template <unsigned FAN_IN, bool MEANWHILE = true, class Publish, class Merge, class Work>
__device__ __forceinline__ bool merge_blocks(unsigned own, unsigned count, unsigned* counters, Publish publish,
                                             Merge merge, Work meanwhile) {
  for (unsigned step = 1; step < count || (MEANWHILE && step == 1); step *= FAN_IN) {
    const unsigned group = own / (step * FAN_IN), first = group * step * FAN_IN;
    const unsigned members = min(FAN_IN, (count - first + step - 1) / step);
    publish(own);
    const bool last = step == 1 ? arrives_last(counters + group, members, meanwhile)
                                : arrives_last(counters + group, members);
    if (!last) return false;
    merge(first, step, members);
    counters += (count - 1) / (step * FAN_IN) + 1;
    own = first;
  }
  return true;
}
template <unsigned FAN_IN, class Publish, class Merge>
__device__ __forceinline__ bool merge_blocks(unsigned own, unsigned count, unsigned* counters, Publish publish,
                                             Merge merge) {
  return merge_blocks<FAN_IN, false>(own, count, counters, publish, merge, [] {});
}

// Sums over the parts that a sum was cut into, each in a block of its own: FOURS times four numbers of each of THREADS
// threads; four(i) is where the i-th four are. parts has place for all blocks, at a multiple of 16 bytes, and counters for
// `splits` times as many as there are tiles. True for the block that has the sums of the tile. Called by the whole block.
template <int THREADS, int FOURS, class Four>
__device__ __forceinline__ bool add_splits(unsigned tile, unsigned split, unsigned splits, float* parts,
                                           unsigned* counters, Four four) {
  const auto place = [&](unsigned part) {
    return parts + (static_cast<size_t>(tile * splits + part) * FOURS * THREADS + threadIdx.x) * 4;
  };
  return merge_blocks<8>(
      split, splits, counters + tile * splits,
      [&](unsigned part) {
        float* to = place(part);
#pragma unroll
        for (int i = 0; i < FOURS; ++i) {
          const float* v = four(i);
          *reinterpret_cast<float4*>(to + i * THREADS * 4) = make_float4(v[0], v[1], v[2], v[3]);
        }
      },
      [&](unsigned first, unsigned step, unsigned members) {
#pragma unroll
        for (int i = 0; i < FOURS; ++i) {
          float* v = four(i);
          v[0] = v[1] = v[2] = v[3] = 0.f;
        }
        for (unsigned member = 0; member < members; ++member) {
          const float* from = place(first + member * step);
#pragma unroll
          for (int i = 0; i < FOURS; ++i) {
            const auto part = merged_load<4>(from + i * THREADS * 4);
            float* v = four(i);
#pragma unroll
            for (int e = 0; e < 4; ++e) v[e] += part.at[e];
          }
        }
      });
}

// result = the sum of what the blocks wrote to parts (count, pitch): over `size` numbers of each row. This block wrote row
// `own`; if it is the only one, that row must be the result. `thread` of `threads` is this one. Called by the whole block.
__device__ __forceinline__ void add_parts(unsigned own, unsigned count, float* parts, unsigned pitch, unsigned size,
                                          float* result, unsigned* counters, unsigned thread, unsigned threads) {
  constexpr unsigned kAtOnce = 32;
  merge_blocks<kAtOnce>(
      own, count, counters, [](unsigned) {},
      [&](unsigned first, unsigned step, unsigned members) {
        float* to = step * kAtOnce < count ? parts + first * pitch : result;
        for (unsigned i = thread; i < size; i += threads) {
          LongSum sum;
#pragma unroll 8
          for (unsigned member = 0; member < members; ++member) {
            sum.add(merged_load<1>(parts + (first + member * step) * pitch + i).at[0]);
          }
          to[i] = sum.total();
        }
      });
}
