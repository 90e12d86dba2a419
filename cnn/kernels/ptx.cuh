// All inline PTX: tensor cores and asynchronous copies, from compute capability 8.0 on. The CPU emulator has a header
// of this name with the same functions, and puts it in this one's place (tests/cuda_emulator/include/ptx).
#pragma once

typedef unsigned SharedAddress;  // of a byte in shared memory

__device__ __forceinline__ SharedAddress shared_address(const void* pointer) {
  return static_cast<SharedAddress>(__cvta_generic_to_shared(pointer));
}

// Starts to copy 16 bytes from an array to shared memory, or to fill 16 bytes with zeros; then `from` is not read. Both
// addresses are multiples of 16.
__device__ __forceinline__ void copy_or_zero_16(SharedAddress to, const void* from, bool copy) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(copy ? 16 : 0) : "memory");
}

// Makes a group of this thread's copies since the last call, perhaps an empty one.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for this thread's copies but for the last GROUPS_LEFT groups. Other threads see them after a barrier.
template <int GROUPS_LEFT>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS_LEFT) : "memory");
}

// Four 8 x 8 matrices of 16-bit numbers: lanes 8 i to 8 i + 7 bring the addresses of the rows of matrix i, multiples of
// 16; lane l gets, of matrix i, numbers 2 (l % 4) and 2 (l % 4) + 1 of row l / 4 in r[i].
__device__ __forceinline__ void load_matrices(unsigned (&r)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}

// The same of the transposed matrices: rows 2 (l % 4) and 2 (l % 4) + 1, number l / 4.
__device__ __forceinline__ void load_matrices_transposed(unsigned (&r)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}

// A word of shared memory.
__device__ __forceinline__ unsigned load_word(SharedAddress word) {
  unsigned value;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(value) : "r"(word) : "memory");
  return value;
}

// d += a b, 16 x 16 by 16 x 8 in bfloat16, sums in float32. With row = lane / 4 and pair = lane % 4, a lane holds
//   a[i]: row + 8 (i % 2), columns 2 pair + 8 (i / 2) and the next, the first in the low half of the word;
//   b0, b1: rows 2 pair and the next, and the same + 8, of column `row`;
//   d[i]: row + 8 (i / 2), column 2 pair + i % 2.
__device__ __forceinline__ void multiply_bfloat16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// d += a b, 16 x 8 by 8 x 8 in tf32: float32 of which the multiplication does not see the last 13 bits. A lane holds
//   a[i]: row + 8 (i % 2), column pair + 4 (i / 2);
//   b0, b1: rows pair and pair + 4, of column `row`;
//   d[i]: as above.
__device__ __forceinline__ void multiply_tf32(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The float32 with these bits, rounded to the nearest tf32, ties away from zero.
__device__ __forceinline__ unsigned round_to_tf32(unsigned bits) {
  unsigned rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__uint_as_float(bits)));
  return rounded;
}

// Two bfloat16 in a word, rounded to the nearest, ties to even; the first in the low half.
__device__ __forceinline__ unsigned pack_bfloat16(float first, float second) {
  unsigned pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

// Keeps a number of 32 bits in its register: the compiler may not compute it anew in every turn of a loop.
template <class T>
__device__ __forceinline__ void keep(T& number) { asm volatile("" : "+r"(number)); }
