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

// --- products of a warpgroup, four warps, from shared memory: compute capability 9.0 alone (sm_90a) -------------------

// An operand in shared memory, in bfloat16, in rows of 128 bytes whose 16-byte chunks have traded places: chunk j of the
// row at 128 i lies at place j ^ i % 8 (the "128-byte swizzle"). A row is 64 numbers along the sum, of one row of a or
// column of b; or 64 along the result, of one place in the sum, and then those of the next 64 begin `next_block` bytes
// further. The first row may be at any multiple of 128, and so may be the distance from a row to the eighth behind it.
typedef unsigned long long MatrixView;

__device__ __forceinline__ MatrixView matrix_view(SharedAddress first, int next_block, int eight_rows = 1024) {
  constexpr MatrixView kSwizzle128 = 1ull << 62;
  return kSwizzle128 | static_cast<MatrixView>(eight_rows >> 4) << 32 | static_cast<MatrixView>(next_block >> 4) << 16 |
         (first & 0x3ffffu) >> 4;
}

// The same operand from `bytes` further on: 32 for the next 16 numbers along the sum in a row, or 2048 for 16 rows.
__device__ __forceinline__ MatrixView advanced(MatrixView view, int bytes) { return view + (bytes >> 4); }

// Makes this thread's finished copies visible to such products of other threads, after a barrier.
__device__ __forceinline__ void publish_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Before the first of some products: sums may have been written by other instructions.
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// Makes a group of the products since the last call.
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits for the products but for the last GROUPS_LEFT groups: then their operands may be overwritten.
template <int GROUPS_LEFT>
__device__ __forceinline__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS_LEFT) : "memory");
}

// Before the first product and after the wait for the last: the compiler must not move what writes or reads the sums in
// between.
template <int COLUMNS>
__device__ __forceinline__ void settle_sums(float (&d)[COLUMNS][4]) {
#pragma unroll
  for (int j = 0; j < COLUMNS; ++j) {
    asm volatile("" : "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])::"memory");
  }
}

// d += a b, 64 x 16 by 16 x N, begun: the sums and operands belong to it until it has been waited for. Warp w of the
// warpgroup has rows 16 w and on; with row = 16 w + lane / 4 and pair = lane % 4 a lane holds d[j][i]: row + 8 (i / 2),
// column 8 j + 2 pair + i % 2. A_BY_RESULT, B_BY_RESULT: rows of the operand's view are along the result.
#define PTX_SUMS_1(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
#define PTX_SUMS_4(j) PTX_SUMS_1(j), PTX_SUMS_1(j + 1), PTX_SUMS_1(j + 2), PTX_SUMS_1(j + 3)
#define PTX_SUMS_8(j) PTX_SUMS_4(j), PTX_SUMS_4(j + 4)
#define PTX_NAMES_0 \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
  "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define PTX_NAMES_1 \
  "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
  "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define PTX_NAMES_2 \
  "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79," \
  "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define PTX_NAMES_3 \
  "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111," \
  "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define PTX_MULTIPLY(N, NAMES, A, B, ACROSS_A, ACROSS_B)                                                  \
  "{.reg .pred p; setp.eq.u32 p, 1, 1; wgmma.mma_async.sync.aligned.m64n" N "k16.f32.bf16.bf16 {" NAMES \
  "}, " A ", " B ", p, 1, 1, " ACROSS_A ", " ACROSS_B ";}"
template <bool A_BY_RESULT, bool B_BY_RESULT>
__device__ __forceinline__ void multiply_warpgroup(float (&d)[8][4], MatrixView a, MatrixView b) {
  asm volatile(PTX_MULTIPLY("64", PTX_NAMES_0, "%32", "%33", "%34", "%35")
               : PTX_SUMS_8(0)
               : "l"(a), "l"(b), "n"(A_BY_RESULT), "n"(B_BY_RESULT));
}
template <bool A_BY_RESULT, bool B_BY_RESULT>
__device__ __forceinline__ void multiply_warpgroup(float (&d)[16][4], MatrixView a, MatrixView b) {
  asm volatile(PTX_MULTIPLY("128", PTX_NAMES_0 "," PTX_NAMES_1, "%64", "%65", "%66", "%67")
               : PTX_SUMS_8(0), PTX_SUMS_8(8)
               : "l"(a), "l"(b), "n"(A_BY_RESULT), "n"(B_BY_RESULT));
}
template <bool A_BY_RESULT, bool B_BY_RESULT>
__device__ __forceinline__ void multiply_warpgroup(float (&d)[32][4], MatrixView a, MatrixView b) {
  asm volatile(PTX_MULTIPLY("256", PTX_NAMES_0 "," PTX_NAMES_1 "," PTX_NAMES_2 "," PTX_NAMES_3, "%128", "%129", "%130",
                            "%131")
               : PTX_SUMS_8(0), PTX_SUMS_8(8), PTX_SUMS_8(16), PTX_SUMS_8(24)
               : "l"(a), "l"(b), "n"(A_BY_RESULT), "n"(B_BY_RESULT));
}
