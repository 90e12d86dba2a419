"""Element-wise passes, dropout and the optimizers' updates, over flat arrays."""

from __future__ import annotations

import numpy as np

from cnn.backends.cpu.jit import compiled, compiled_sums, wide_vectors

_BLOCKS = 128  # of eight elements each; their random bits are drawn together


@compiled
def relu_backward(dy, x, out):
    """`dy` where x > 0, else 0; x may be the output of the ReLU."""
    wide_vectors()
    zero = dy.dtype.type(0)
    for e in range(dy.shape[0]):
        out[e] = dy[e] if x[e] > zero else zero


@compiled_sums
def sum_of_squares(x):
    """The sum of x (n,) squared, in float64."""
    wide_vectors()
    total = 0.0
    for e in range(x.shape[0]):
        total += np.float64(x[e]) * np.float64(x[e])
    return total


@compiled
def add_scaled(x, factor, out):
    """In place: out += factor * x."""
    wide_vectors()
    for e in range(x.shape[0]):
        out[e] += factor * x[e]


@compiled
def round_to_bfloat16(bits, out):
    """The bits of float32 numbers (n,) rounded to bfloat16, to nearest even; those of NaN unchanged."""
    wide_vectors()
    sign, infinity = np.uint32(0x7FFFFFFF), np.uint32(0x7F800000)
    half, upper, one, sixteen = np.uint32(0x7FFF), np.uint32(0xFFFF0000), np.uint32(1), np.uint32(16)
    for e in range(bits.shape[0]):
        word = bits[e]
        rounded = np.uint32(word + half + ((word >> sixteen) & one)) & upper
        out[e] = word if (word & sign) > infinity else rounded


@compiled
def dropout(x, key, stream, step, first_block, threshold, scale, y):
    """Inverted dropout of x (n,) with random bits from block `first_block` of the Philox stream on: see `philox.py`."""
    wide_vectors()
    low, word = np.uint64(0xFFFFFFFF), np.uint64(32)
    m0, m1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
    k_step0, k_step1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
    half, sixteen = np.uint64(0xFFFF), np.uint64(16)
    zero = x.dtype.type(0)
    halves = np.empty((_BLOCKS, 8), np.uint16)
    total = (x.shape[0] + 7) // 8
    for start in range(0, total, _BLOCKS):
        blocks = min(_BLOCKS, total - start)
        for b in range(blocks):
            c0 = (np.uint64(first_block) + np.uint64(start + b)) & low
            c1, c2, c3 = stream, step & low, step >> word
            k0, k1 = key & low, key >> word
            for _ in range(10):
                product0, product1 = c0 * m0, c2 * m1
                c0 = (product1 >> word) ^ c1 ^ k0
                c2 = (product0 >> word) ^ c3 ^ k1
                c1, c3 = product1 & low, product0 & low
                k0, k1 = (k0 + k_step0) & low, (k1 + k_step1) & low
            halves[b, 0], halves[b, 1] = c0 & half, c0 >> sixteen
            halves[b, 2], halves[b, 3] = c1 & half, c1 >> sixteen
            halves[b, 4], halves[b, 5] = c2 & half, c2 >> sixteen
            halves[b, 6], halves[b, 7] = c3 & half, c3 >> sixteen
        bits, begin = halves.reshape(-1), 8 * start
        for e in range(min(8 * blocks, x.shape[0] - begin)):
            at = np.uint64(begin + e)
            y[at] = x[at] * scale if bits[e] >= threshold else zero


@compiled
def blend(into, values, share):
    """`Ops.blend` for a share other than 0, in place."""
    wide_vectors()
    for e in range(into.shape[0]):
        into[e] = values[e] if share == 1 else into[e] + share * (values[e] - into[e])


@compiled
def sgd(p, g, v, rate, momentum, nesterov, decay, decoupled):
    """One step of `Ops.sgd_update` for a tensor, in place."""
    wide_vectors()
    one = p.dtype.type(1)
    for e in range(p.shape[0]):
        value, gradient = p[e], g[e]
        if decoupled:
            value *= one - rate * decay
        else:
            gradient += decay * value
        velocity = momentum * v[e] + gradient
        v[e] = velocity
        p[e] = value - rate * (gradient + momentum * velocity if nesterov else velocity)


@compiled
def adam(p, g, m, v, rate, beta1, beta2, one_minus_beta1, one_minus_beta2, eps, rate1, correction2, decay, decoupled):
    """One step of `Ops.adam_update` for a tensor, in place.

    `rate1` is rate / (1 - beta1^step), `correction2` is 1 - beta2^step.
    """
    wide_vectors()
    one = p.dtype.type(1)
    for e in range(p.shape[0]):
        value, gradient = p[e], g[e]
        if decoupled:
            value *= one - rate * decay
        else:
            gradient += decay * value
        first = beta1 * m[e] + one_minus_beta1 * gradient
        second = beta2 * v[e] + one_minus_beta2 * (gradient * gradient)
        m[e], v[e] = first, second
        p[e] = value - rate1 * first / (np.sqrt(second / correction2) + eps)
