// Vectors of four floats.
#pragma once

__device__ __forceinline__ float4 zeros4() { return make_float4(0.f, 0.f, 0.f, 0.f); }

// Component i of v; i is always a compile-time constant.
__device__ __forceinline__ float component(const float4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// The four floats at p; with VECTOR p must be 16-byte aligned and all four readable, else `valid` of them are.
template <bool VECTOR>
__device__ __forceinline__ float4 load4(const float* p, int valid) {
  if (VECTOR) return valid > 0 ? *reinterpret_cast<const float4*>(p) : zeros4();
  float4 v = zeros4();
  if (valid > 0) v.x = p[0];
  if (valid > 1) v.y = p[1];
  if (valid > 2) v.z = p[2];
  if (valid > 3) v.w = p[3];
  return v;
}
