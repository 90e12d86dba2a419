// Stands for the project's header of this name: what its PTX instructions do, by the PTX ISA's register layouts. Lanes
// meet in an operation, each with the address of what it brings; when one goes on, all have come.
#pragma once

typedef uintptr_t SharedAddress;

namespace cuda_emulator {

#pragma GCC visibility push(default)
extern "C" {  // runtime/async_copies.cpp
  void cuda_emulator_copy_async(void* to, const void* from, unsigned bytes);
  void cuda_emulator_copy_commit();
  void cuda_emulator_copy_wait(unsigned groups_left);
  // runtime/products.cpp: of the warp; one of its lanes calls
  void cuda_emulator_product_begin(void (*compute)(const void*), const void* operands, size_t bytes);
  void cuda_emulator_products_commit();
  void cuda_emulator_products_wait(unsigned groups_left);
}
#pragma GCC visibility pop

CUDA_EMULATOR_INLINE WarpGroup* whole_warp_meets(const char* operation, uint64_t value, const char* file, int line) {
  WarpGroup* group = cuda_emulator_warp_meet(operation, ~0u, value, file, line);
  if (group->arrived != ~0u) cuda_emulator_stop("some lanes of the warp have ended", file, line);
  return group;
}

// 16 bytes for each lane, in turns of eight lanes: a turn takes one pass if they lie in different sixteen-byte columns
// of the 32 banks (128 bytes).
inline bool bank_conflict(const WarpGroup* group) {
  for (int turn = 0; turn < 4; turn++) {
    unsigned used = 0;
    for (int lane = 0; lane < 8; lane++) used |= 1u << (group->value[8 * turn + lane] / 16 % 8);
    if (used != 0xFFu) return true;
  }
  return false;
}

template <bool TRANSPOSED>
CUDA_EMULATOR_INLINE void load_matrices(unsigned (&r)[4], SharedAddress row, const char* file, int line) {
  if (row % 16) cuda_emulator_stop("ldmatrix: the address of a row is no multiple of 16", file, line);
  WarpGroup* group = whole_warp_meets(TRANSPOSED ? "ldmatrix.trans" : "ldmatrix", row, file, line);
  if (bank_conflict(group)) cuda_emulator_stop("ldmatrix: bank conflict", file, line);
  const int lane = cuda_emulator_lane, across = lane / 4, pair = lane % 4;
  for (int i = 0; i < 4; i++) {
    const uint64_t* rows = group->value + 8 * i;
    if (!TRANSPOSED) {
      r[i] = reinterpret_cast<const unsigned*>(rows[across])[pair];
      continue;
    }
    // Whole words are read: the checked build keeps track of four bytes at a time.
    const unsigned low = reinterpret_cast<const unsigned*>(rows[2 * pair])[across / 2];
    const unsigned high = reinterpret_cast<const unsigned*>(rows[2 * pair + 1])[across / 2];
    r[i] = across % 2 ? low >> 16 | (high & 0xFFFF0000u) : (low & 0xFFFFu) | high << 16;
  }
  cuda_emulator_warp_read(group);
}

struct MmaOperands {
  float* d;
  const unsigned* a;
  unsigned b[2];
};

// Number `i` of the row or column that a lane holds a part of: its place along the sum, and its value.
struct Bfloat16Layout {
  static constexpr int K = 16;
  static int along_sum(int pair, int word, int part) { return 2 * pair + part + 8 * word; }
  static float value(unsigned word, int part) { return bit_cast<float>(part ? word & 0xFFFF0000u : word << 16); }
  static constexpr int PARTS = 2;  // numbers in a word
};
struct Tf32Layout {
  static constexpr int K = 8;
  static int along_sum(int pair, int word, int) { return pair + 4 * word; }
  static float value(unsigned word, int) { return bit_cast<float>(word & 0xFFFFE000u); }
  static constexpr int PARTS = 1;
};

// The product of the whole warp, by the first lane that goes on; the others' operands wait on their stacks.
template <class Layout>
inline __attribute__((no_sanitize("thread"))) void multiply_warp(const WarpGroup* group) {
  float a[16][Layout::K], b[Layout::K][8], d[16][8];
  for (int lane = 0; lane < 32; lane++) {
    const MmaOperands& operands = *reinterpret_cast<const MmaOperands*>(group->value[lane]);
    const int row = lane / 4, pair = lane % 4;
    for (int i = 0; i < 4; i++) {
      for (int part = 0; part < Layout::PARTS; part++) {
        a[row + i % 2 * 8][Layout::along_sum(pair, i / 2, part)] = Layout::value(operands.a[i], part);
        if (i < 2) b[Layout::along_sum(pair, i, part)][row] = Layout::value(operands.b[i], part);
      }
      d[row + i / 2 * 8][2 * pair + i % 2] = operands.d[i];
    }
  }
  for (int row = 0; row < 16; row++) {
    for (int k = 0; k < Layout::K; k++) {
      for (int column = 0; column < 8; column++) d[row][column] += a[row][k] * b[k][column];
    }
  }
  for (int lane = 0; lane < 32; lane++) {
    const MmaOperands& operands = *reinterpret_cast<const MmaOperands*>(group->value[lane]);
    for (int i = 0; i < 4; i++) operands.d[i] = d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
}

template <class Layout>
CUDA_EMULATOR_INLINE void multiply(const char* operation, float* d, const unsigned* a, unsigned b0, unsigned b1,
                                   const char* file, int line) {
  MmaOperands operands{d, a, {b0, b1}};
  WarpGroup* group = whole_warp_meets(operation, reinterpret_cast<uint64_t>(&operands), file, line);
  if (group->unread == ~0u) multiply_warp<Layout>(group);
  cuda_emulator_warp_read(group);
}

// --- products of a warpgroup -----------------------------------------------------------------------------------------

struct View {
  SharedAddress first;
  int next_block, eight_rows;
};

// A number of an operand: `result` along a's rows or b's columns.
inline float number(const View& view, bool by_result, int result, int sum) {
  const int row = by_result ? sum : result, within = by_result ? result % 64 : sum;
  uintptr_t address = view.first + (by_result ? result / 64 * view.next_block : 0) + row / 8 * view.eight_rows +
                      row % 8 * 128 + within * 2;
  address ^= (address >> 7 & 7) << 4;
  // Whole words are read: the checked build keeps track of four bytes at a time.
  return Bfloat16Layout::value(*reinterpret_cast<const unsigned*>(address & ~uintptr_t{3}), address >> 1 & 1);
}

// What a warp multiplies: its own sixteen rows. d[column / 8][4] of each lane.
struct WarpgroupProduct {
  float* d[32];
  View a, b;
  int first_row;
};

inline __attribute__((no_sanitize("thread"))) void add_product(const WarpgroupProduct& product,
                                                               const float (&a)[16][16], const float (*b)[16],
                                                               int columns) {
  for (int lane = 0; lane < 32; lane++) {
    float* d = product.d[lane];
    for (int j = 0; j < columns / 8; j++) {
      for (int i = 0; i < 4; i++) {
        const float *row = a[lane / 4 + i / 2 * 8], *column = b[8 * j + lane % 4 * 2 + i % 2];
        for (int k = 0; k < 16; k++) d[4 * j + i] += row[k] * column[k];
      }
    }
  }
}

template <int COLUMNS, bool A_BY_RESULT, bool B_BY_RESULT>
inline void compute_product(const void* of) {
  const WarpgroupProduct& product = *static_cast<const WarpgroupProduct*>(of);
  float left[16][16], right[COLUMNS][16];
  for (int k = 0; k < 16; k++) {
    for (int row = 0; row < 16; row++) left[row][k] = number(product.a, A_BY_RESULT, product.first_row + row, k);
    for (int column = 0; column < COLUMNS; column++) right[column][k] = number(product.b, B_BY_RESULT, column, k);
  }
  add_product(product, left, right, COLUMNS);
}

template <int COLUMNS, bool A_BY_RESULT, bool B_BY_RESULT>
CUDA_EMULATOR_INLINE void multiply_warpgroup(float* d, View a, View b, const char* file, int line) {
  static_assert(COLUMNS == 64 || COLUMNS == 128 || COLUMNS == 256, "the widths that ptx.cuh has");
  if (blockDim.x % 128) cuda_emulator_stop("wgmma: a warpgroup is four warps", file, line);
  for (const View& view : {a, b}) {
    const bool aligned = (view.first | view.next_block | view.eight_rows) % 16 == 0;
    if (!aligned) cuda_emulator_stop("wgmma: what a view says is no multiple of 16", file, line);
  }
  WarpGroup* group = whole_warp_meets("wgmma", reinterpret_cast<uint64_t>(d), file, line);
  if (group->unread == ~0u) {
    WarpgroupProduct product{{}, a, b, static_cast<int>(threadIdx.x) / 32 % 4 * 16};
    for (int lane = 0; lane < 32; lane++) product.d[lane] = reinterpret_cast<float*>(group->value[lane]);
    cuda_emulator_product_begin(compute_product<COLUMNS, A_BY_RESULT, B_BY_RESULT>, &product, sizeof product);
  }
  cuda_emulator_warp_read(group);
}

inline unsigned to_bfloat16(float value) {
  const unsigned bits = bit_cast<unsigned>(value);
  if (value != value) return 0x7FFFu;
  return (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
}

}  // namespace cuda_emulator

inline SharedAddress shared_address(const void* pointer) { return reinterpret_cast<SharedAddress>(pointer); }

// On a GPU lanes may copy on their own; here a whole warp copies, so that its lanes can compare their addresses.
CUDA_EMULATOR_INLINE void copy_or_zero_16(SharedAddress to, const void* from, bool copy, CUDA_EMULATOR_SITE) {
  using namespace cuda_emulator;
  WarpGroup* group = whole_warp_meets("cp.async", to, file, line);
  if (bank_conflict(group)) cuda_emulator_stop("cp.async: bank conflict", file, line);
  cuda_emulator_warp_read(group);
  cuda_emulator_copy_async(reinterpret_cast<void*>(to), from, copy ? 16 : 0);
}

CUDA_EMULATOR_INLINE void commit_copies() { cuda_emulator::cuda_emulator_copy_commit(); }

template <int GROUPS_LEFT>
CUDA_EMULATOR_INLINE void wait_for_copies() {
  cuda_emulator::cuda_emulator_copy_wait(GROUPS_LEFT);
}

CUDA_EMULATOR_INLINE void load_matrices(unsigned (&r)[4], SharedAddress row, CUDA_EMULATOR_SITE) {
  cuda_emulator::load_matrices<false>(r, row, file, line);
}

CUDA_EMULATOR_INLINE void load_matrices_transposed(unsigned (&r)[4], SharedAddress row, CUDA_EMULATOR_SITE) {
  cuda_emulator::load_matrices<true>(r, row, file, line);
}

// On a GPU lanes may read on their own, and the same word; here a whole warp reads words of different banks.
CUDA_EMULATOR_INLINE unsigned load_word(SharedAddress word, CUDA_EMULATOR_SITE) {
  using namespace cuda_emulator;
  WarpGroup* group = whole_warp_meets("ld.shared", word, file, line);
  unsigned used = 0;
  for (int lane = 0; lane < 32; lane++) used |= 1u << (group->value[lane] / 4 % 32);
  if (used != ~0u) cuda_emulator_stop("ld.shared: bank conflict", file, line);
  cuda_emulator_warp_read(group);
  return *reinterpret_cast<const unsigned*>(word);
}

CUDA_EMULATOR_INLINE void multiply_bfloat16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                                            CUDA_EMULATOR_SITE) {
  cuda_emulator::multiply<cuda_emulator::Bfloat16Layout>("mma.bf16", d, a, b0, b1, file, line);
}

CUDA_EMULATOR_INLINE void multiply_tf32(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                                        CUDA_EMULATOR_SITE) {
  cuda_emulator::multiply<cuda_emulator::Tf32Layout>("mma.tf32", d, a, b0, b1, file, line);
}

inline unsigned round_to_tf32(unsigned bits) {
  const bool finite = (bits & 0x7F800000u) != 0x7F800000u;
  return finite ? (bits + 0x1000u) & 0xFFFFE000u : bits & 0x7FFFFFu ? 0x7FFFFFFFu : bits;
}

inline unsigned pack_bfloat16(float first, float second) {
  return cuda_emulator::to_bfloat16(first) | cuda_emulator::to_bfloat16(second) << 16;
}

template <class T>
inline void keep(T& number) {
  (void)number;
}

typedef cuda_emulator::View MatrixView;

inline MatrixView matrix_view(SharedAddress first, int next_block, int eight_rows = 1024) {
  return MatrixView{first, next_block, eight_rows};
}

inline MatrixView advanced(MatrixView view, int bytes) {
  return MatrixView{view.first + bytes, view.next_block, view.eight_rows};
}

inline void publish_copies() {}

inline void begin_products() {}

CUDA_EMULATOR_INLINE void commit_products(CUDA_EMULATOR_SITE) {
  using namespace cuda_emulator;
  WarpGroup* group = whole_warp_meets("wgmma.commit_group", 0, file, line);
  if (group->unread == ~0u) cuda_emulator_products_commit();
  cuda_emulator_warp_read(group);
}

template <int GROUPS_LEFT>
CUDA_EMULATOR_INLINE void wait_for_products(CUDA_EMULATOR_SITE) {
  using namespace cuda_emulator;
  WarpGroup* group = whole_warp_meets("wgmma.wait_group", 0, file, line);
  if (group->unread == ~0u) cuda_emulator_products_wait(GROUPS_LEFT);
  cuda_emulator_warp_read(group);
}

template <int COLUMNS>
inline void settle_sums(float (&d)[COLUMNS][4]) {
  (void)d;
}

template <bool A_BY_RESULT, bool B_BY_RESULT, int COLUMNS>
CUDA_EMULATOR_INLINE void multiply_warpgroup(float (&d)[COLUMNS][4], MatrixView a, MatrixView b, CUDA_EMULATOR_SITE) {
  cuda_emulator::multiply_warpgroup<8 * COLUMNS, A_BY_RESULT, B_BY_RESULT>(&d[0][0], a, b, file, line);
}
