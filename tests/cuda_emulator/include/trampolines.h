// One exported pair for each kernel: its signature as the compiler saw it, and a call with arguments by address.
#pragma once
#include <type_traits>
#include <utility>

namespace cuda_emulator {

// NumPy's name of a value's type; `struct:<bytes>` for all else that is passed by value.
template <class T>
inline int describe_value(char* text) {
  const int bits = int(8 * sizeof(T));
  if (std::is_same<T, bool>::value) return sprintf(text, "bool");
  if (std::is_floating_point<T>::value) return sprintf(text, "float%d", bits);
  if (std::is_integral<T>::value) return sprintf(text, "%s%d", std::is_unsigned<T>::value ? "uint" : "int", bits);
  if (std::is_enum<T>::value) return sprintf(text, "int%d", bits);
  if (std::is_pointer<T>::value) return sprintf(text, "pointer");
  return sprintf(text, "struct:%d", int(sizeof(T)));
}
template <>
inline int describe_value<void>(char* text) {
  return sprintf(text, "void");
}

template <class Argument>
inline int describe(char* text) {
  typedef std::remove_cv_t<Argument> Value;
  typedef std::remove_pointer_t<Value> Pointee;
  if (!std::is_pointer<Value>::value) return describe_value<Value>(text);
  int length = std::is_const<Pointee>::value ? sprintf(text, "const ") : 0;
  length += describe_value<std::remove_cv_t<Pointee>>(text + length);
  return length + sprintf(text + length, "*");
}

// The arguments' types, each followed by a semicolon.
template <class... Arguments>
inline const char* signature(void (*)(Arguments...)) {
  static char text[48 * (sizeof...(Arguments) + 1)];
  char* end = text;
  ((end += describe<Arguments>(end), *end++ = ';'), ...);
  *end = 0;
  return text;
}

template <class... Arguments, size_t... Index>
inline void call(void (*kernel)(Arguments...), void** arguments, std::index_sequence<Index...>) {
  kernel(*static_cast<std::remove_cv_t<Arguments>*>(arguments[Index])...);
}
template <class... Arguments>
CUDA_EMULATOR_INLINE void call(void (*kernel)(Arguments...), void** arguments) {
  call(kernel, arguments, std::index_sequence_for<Arguments...>());
}

}  // namespace cuda_emulator

#define CUDA_EMULATOR_EXPORT(number, ...)                                                                \
  extern "C" CUDA_EMULATOR_EXPORTED const char* cuda_emulator_signature_##number() {                     \
    return cuda_emulator::signature(&__VA_ARGS__);                                                       \
  }                                                                                                      \
  extern "C" CUDA_EMULATOR_EXPORTED void cuda_emulator_call_##number(void** arguments) {                 \
    cuda_emulator::call(&__VA_ARGS__, arguments);                                                        \
  }
