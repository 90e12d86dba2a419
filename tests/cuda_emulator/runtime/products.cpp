// Products of a warpgroup run on until they are waited for. They are computed in that wait, at the last moment at which
// they may read their operands and write their sums: so it shows if an operand is overwritten too early, or a sum read.
#include <cstdint>
#include <vector>

#include "exported.h"
#include "happens_before.h"
#include "scheduler.h"

namespace cuda_emulator {

namespace {

struct Product {
  void (*compute)(const void*);
  std::vector<char> operands;
  unsigned group;
};

struct Products {
  unsigned group;  // the one that is being made
  std::vector<Product> pending;
};

uint32_t block;  // block_epoch of the block that all this is about
std::vector<Products> of_warps;

Products& mine() {
  if (block != block_epoch) {
    block = block_epoch;
    of_warps.clear();
  }
  if (of_warps.size() <= current->warp) of_warps.resize(current->warp + 1);
  return of_warps[current->warp];
}

}  // namespace

EXPORTED void cuda_emulator_product_begin(void (*compute)(const void*), const void* operands, size_t bytes) {
  const char* first = static_cast<const char*>(operands);
  Products& products = mine();
  products.pending.push_back({compute, std::vector<char>(first, first + bytes), products.group});
}

EXPORTED void cuda_emulator_products_commit() { mine().group++; }

EXPORTED void cuda_emulator_products_wait(unsigned groups_left) {
  Products& products = mine();
  size_t due = 0;  // groups end in their order; what was not committed yet is not waited for
  while (due < products.pending.size() && products.pending[due].group + groups_left < products.group) {
    const Product& product = products.pending[due++];
    product.compute(product.operands.data());
  }
  products.pending.erase(products.pending.begin(), products.pending.begin() + due);
}

}  // namespace cuda_emulator
