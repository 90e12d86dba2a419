// What g++ makes the checked build call. The kernels are compiled with -fsanitize=thread and some checks of
// -fsanitize=undefined, but linked without their libraries: these are the emulator's own.
#include <cstddef>
#include <cstdint>

#include "exported.h"
#include "failures.h"
#include "shadow.h"

using cuda_emulator::AccessKind;
using cuda_emulator::check_access;
using cuda_emulator::fail;

// ---- -fsanitize=thread: before every access to memory that is not a thread's own
#define HOOK(name, bytes, kind) \
  EXPORTED void name(void* address) { check_access(uintptr_t(address), bytes, AccessKind::kind, RETURN_ADDRESS, true); }
#define HOOKS(bytes)                                      \
  HOOK(__tsan_read##bytes, bytes, Read)                   \
  HOOK(__tsan_write##bytes, bytes, Write)                 \
  HOOK(__tsan_unaligned_read##bytes, bytes, Read)         \
  HOOK(__tsan_unaligned_write##bytes, bytes, Write)       \
  HOOK(__tsan_volatile_read##bytes, bytes, Read)          \
  HOOK(__tsan_volatile_write##bytes, bytes, Write)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
EXPORTED void __tsan_read_range(void* address, size_t bytes) {
  check_access(uintptr_t(address), bytes, AccessKind::Read, RETURN_ADDRESS, true);
}
EXPORTED void __tsan_write_range(void* address, size_t bytes) {
  check_access(uintptr_t(address), bytes, AccessKind::Write, RETURN_ADDRESS, true);
}
EXPORTED void __tsan_init() {}
EXPORTED void __tsan_func_entry(void*) {}
EXPORTED void __tsan_func_exit(void*) {}
EXPORTED void __tsan_vptr_update(void**, void*) {}
EXPORTED void __tsan_vptr_read(void**) {}

EXPORTED void cuda_emulator_atomic_begin(const void* address) { cuda_emulator::begin_atomic(uintptr_t(address)); }
EXPORTED void cuda_emulator_atomic_end() { cuda_emulator::end_atomic(); }
EXPORTED void cuda_emulator_fence() { cuda_emulator::fence(); }

// ---- -fsanitize=undefined: after the fact; what the compiler passes is described in libubsan's ubsan_handlers.h
namespace {

struct Location {
  const char* file;
  uint32_t line, column;
};

struct Type {
  uint16_t kind, info;
  char name[1];
};

struct TypeMismatch {
  Location location;
  const Type* type;
  unsigned char alignment_log2, kind;
};

}  // namespace

EXPORTED void __ubsan_handle_type_mismatch_v1_abort(const TypeMismatch* data, uintptr_t address) {
  if (!address) fail(RETURN_ADDRESS, "null pointer: access to type %s", data->type->name);
  fail(RETURN_ADDRESS, "misaligned access: type %s needs an address that is a multiple of %d, not %#lx",
       data->type->name, 1 << data->alignment_log2, static_cast<unsigned long>(address));
}
EXPORTED void __ubsan_handle_out_of_bounds_abort(void*, uintptr_t index) {
  fail(RETURN_ADDRESS, "array index out of bounds: %ld", static_cast<long>(index));
}
EXPORTED void __ubsan_handle_shift_out_of_bounds_abort(void*, uintptr_t, uintptr_t by) {
  fail(RETURN_ADDRESS, "shift by %ld bits is undefined", static_cast<long>(by));
}
EXPORTED void __ubsan_handle_divrem_overflow_abort(void*, uintptr_t, uintptr_t) {
  fail(RETURN_ADDRESS, "integer division by zero");
}
EXPORTED void __ubsan_handle_vla_bound_not_positive_abort(void*, uintptr_t) {
  fail(RETURN_ADDRESS, "array of a size that is not positive");
}
EXPORTED void __ubsan_handle_add_overflow_abort(void*, uintptr_t, uintptr_t) {
  fail(RETURN_ADDRESS, "signed integer overflow in an addition");
}
EXPORTED void __ubsan_handle_sub_overflow_abort(void*, uintptr_t, uintptr_t) {
  fail(RETURN_ADDRESS, "signed integer overflow in a subtraction");
}
EXPORTED void __ubsan_handle_mul_overflow_abort(void*, uintptr_t, uintptr_t) {
  fail(RETURN_ADDRESS, "signed integer overflow in a multiplication");
}
EXPORTED void __ubsan_handle_negate_overflow_abort(void*, uintptr_t) {
  fail(RETURN_ADDRESS, "signed integer overflow in a negation");
}
EXPORTED void __ubsan_handle_builtin_unreachable() { fail(RETURN_ADDRESS, "unreachable code was reached"); }
EXPORTED void __ubsan_handle_missing_return() { fail(RETURN_ADDRESS, "a function ends without a return value"); }
