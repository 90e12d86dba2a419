// Division by a constant of the launch, as a multiplication and a shift.
#pragma once

// Quotients and remainders of 0 <= n < 2^31 (Granlund & Montgomery, "Division by invariant integers using
// multiplication", PLDI 1994, figure 4.1). The host finds multiplier and shift (`fast_divmod` in structs.py); as kernel
// arguments they cost no registers.
struct FastDivmod {
  unsigned divisor, multiplier, shift;

  __device__ __forceinline__ int quotient(int n) const {
    return static_cast<int>((__umulhi(static_cast<unsigned>(n), multiplier) + n) >> shift);
  }

  // The quotient; the remainder goes to `remainder`.
  __device__ __forceinline__ int divmod(int n, int& remainder) const {
    const int q = quotient(n);
    remainder = n - q * static_cast<int>(divisor);
    return q;
  }
};

// The divisors in the matrix products of a convolution: sides of a Window2D, and channels and filters of one group.
struct ConvDivmods {
  FastDivmod p, q, h, w, kw, stride_h, stride_w, channels, filters;
};
