"""Every operation once more, slowly and independently: plain loops, SciPy, and the formulas of the papers.

A function here has the name and the arguments of the operation that it checks, takes float64 NumPy arrays, and
returns a tuple: first what the operation returns, then the arguments that it changes in place.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy import ndimage, special

# --- arrays -----------------------------------------------------------------------------------------------------


def array(values):
    return (values,)


def constant(values):
    return (values,)


def to_numpy(x):
    return (x,)


def zeros_like(x):
    return (np.zeros(x.shape, x.dtype),)


def add(a, b):
    return (a + b,)


# --- convolution and dense --------------------------------------------------------------------------------------


def _seen(window, i, j):
    """(tap row, tap column, image row, image column) of every tap of output pixel (i, j) that is in the image."""
    top, _, left, _ = window.padding
    for k in range(window.kernel[0]):
        for m in range(window.kernel[1]):
            row = i * window.stride[0] + k * window.dilation[0] - top
            column = j * window.stride[1] + m * window.dilation[1] - left
            if 0 <= row < window.input_hw[0] and 0 <= column < window.input_hw[1]:
                yield k, m, row, column


def _output_pixels(window):
    return ((i, j) for i in range(window.output_hw[0]) for j in range(window.output_hw[1]))


def conv2d(x, w, b, window, groups, relu=False):
    depth, share = w.shape[2], w.shape[3] // groups
    y = np.zeros((len(x), *window.output_hw, w.shape[3]))
    for i, j in _output_pixels(window):
        for k, m, row, column in _seen(window, i, j):
            for g in range(groups):
                channels, filters = slice(g * depth, (g + 1) * depth), slice(g * share, (g + 1) * share)
                y[:, i, j, filters] += x[:, row, column, channels] @ w[k, m, :, filters]
    return (_activated(y if b is None else y + b, relu),)


def dense(x, w, b, relu=False):
    y = np.array([[math.fsum(row * column) for column in w.T] for row in x])
    return (_activated(y if b is None else y + b, relu),)


def _activated(y, relu):
    return np.where(y > 0, y, 0.0) if relu else y


# --- pooling ----------------------------------------------------------------------------------------------------


def max_pool2d(x, window):
    shape = (len(x), *window.output_hw, x.shape[3])
    y, winner = np.empty(shape), np.empty(shape, int)
    for i, j in _output_pixels(window):
        seen = list(_seen(window, i, j))
        values = np.stack([x[:, row, column] for _, _, row, column in seen])
        numbers = np.array([k * window.kernel[1] + m for k, m, _, _ in seen])
        y[:, i, j], winner[:, i, j] = values.max(axis=0), numbers[values.argmax(axis=0)]  # argmax: the first of equals
    return y, winner


def avg_pool2d(x, window):
    y = np.empty((len(x), *window.output_hw, x.shape[3]))
    for i, j in _output_pixels(window):
        y[:, i, j] = np.mean([x[:, row, column] for _, _, row, column in _seen(window, i, j)], axis=0)
    return (y,)


def global_avg_pool2d(x):
    n, h, w, c = x.shape
    return (np.array([[math.fsum(x[i, :, :, j].reshape(-1)) / (h * w) for j in range(c)] for i in range(n)]),)


# --- batch normalisation ----------------------------------------------------------------------------------------


def batch_norm(x, gamma, beta, eps, relu=False):
    rows = x.reshape(-1, x.shape[-1])
    mean = np.array([math.fsum(column) / len(column) for column in rows.T])
    variance = np.array([math.fsum((column - m) ** 2) / len(column) for column, m in zip(rows.T, mean, strict=True)])
    return *batch_norm_inference(x, gamma, beta, mean, variance, eps, relu), mean, variance


def batch_norm_inference(x, gamma, beta, mean, variance, eps, relu=False):
    return (_activated(gamma * ((x - mean) / np.sqrt(variance + eps)) + beta, relu),)


def batch_norm_max_pool2d(x, gamma, beta, eps, window, relu=False):
    y, mean, variance = batch_norm(x, gamma, beta, eps, relu)
    return *max_pool2d(y, window), mean, variance


def batch_norm_max_pool2d_inference(x, gamma, beta, mean, variance, eps, window, relu=False):
    return (max_pool2d(*batch_norm_inference(x, gamma, beta, mean, variance, eps, relu), window)[0],)


def running_average(running, current, momentum):
    return (running * momentum + current * (1 - momentum),)


# --- activations ------------------------------------------------------------------------------------------------


def relu(x):
    return (np.where(x > 0, x, 0.0),)


def leaky_relu(x, slope):
    return (np.where(x > 0, x, slope * x),)


def elu(x, alpha):
    return (np.where(x > 0, x, alpha * special.expm1(np.minimum(x, 0))),)


def gelu(x):
    return (x * special.ndtr(x),)


def silu(x):
    return (x * special.expit(x),)


# --- random numbers and dropout -----------------------------------------------------------------------------------


def philox4x32_10(counter, key):
    """Four 32-bit words of a counter of four words and a key of two: section 3.3 of the paper, word by word."""
    (x0, x1, x2, x3), (k0, k1) = counter, key
    for bumps in range(10):
        key0, key1 = (k0 + bumps * 0x9E3779B9) % 2**32, (k1 + bumps * 0xBB67AE85) % 2**32
        high0, low0 = divmod(0xD2511F53 * x0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * x2, 2**32)
        x0, x1, x2, x3 = high1 ^ x1 ^ key0, low1, high0 ^ x3 ^ key1, low0
    return x0, x1, x2, x3


@functools.cache
def random_halves(key, count):
    """The first `count` 16-bit numbers of the stream that `key` names, as the contract numbers them."""
    seed, stream, step = key
    halves = []
    for block in range(-(-count // 8)):
        words = philox4x32_10((block, stream, step % 2**32, step // 2**32), (seed % 2**32, seed // 2**32))
        for word in words:
            halves += [word % 2**16, word // 2**16]
    return halves[:count]


def dropout(x, rate, key):
    threshold = round(rate * 65536)
    mask = np.array([half >= threshold for half in random_halves(key, x.size)], int).reshape(x.shape)
    return x * mask * 65536 / (65536 - threshold), mask


# --- loss -------------------------------------------------------------------------------------------------------


def softmax(logits):
    return (special.softmax(logits, axis=1),)


def soft_targets(labels, classes, smoothing, like):
    return (
        np.array(
            [
                [1 - smoothing + smoothing / classes if c == label else smoothing / classes for c in range(classes)]
                for label in labels
            ]
        ),
    )


def softmax_cross_entropy(logits, targets, weights):
    logs, n = special.log_softmax(logits, axis=1), len(logits)
    loss = math.fsum(-weights[i] * targets[i, c] * logs[i, c] for i in range(n) for c in range(logits.shape[1])) / n
    gradient = weights[:, None] / n * (np.exp(logs) * targets.sum(axis=1, keepdims=True) - targets)
    return np.array(loss), gradient


def l2_penalty(w, coefficient):
    return (np.array(coefficient * math.fsum(value * value for value in w.reshape(-1))),)


def l2_penalty_backward(w, coefficient, dw):
    return (dw + 2 * coefficient * w,)


def count_correct(logits, labels):
    right = (max(range(len(row)), key=row.__getitem__) == label for row, label in zip(logits, labels, strict=True))
    return (np.array(sum(right)),)


# --- parameter updates: one number at a time ----------------------------------------------------------------------


def _each_number(rule, tensors, decays):
    """`rule(*numbers, decay)` on the numbers of equally shaped tensors; returns the tensors it changes."""
    changed = []
    for group, decay in zip(zip(*tensors, strict=True), decays, strict=True):
        numbers = [rule(*values, decay) for values in zip(*(t.reshape(-1).tolist() for t in group), strict=True)]
        changed.append([np.array(column).reshape(group[0].shape) for column in zip(*numbers, strict=True)])
    return tuple(tensor for kind in zip(*changed, strict=True) for tensor in kind)


def sgd_update(params, grads, velocities, *, learning_rate, momentum, nesterov, weight_decay, decoupled):
    def rule(p, g, v, decay):
        if decoupled:
            p = p - learning_rate * decay * p
        else:
            g = g + decay * p
        v = momentum * v + g
        return p - learning_rate * (g + momentum * v if nesterov else v), v

    return _each_number(rule, (params, grads, velocities), weight_decay)


def adam_update(
    params,
    grads,
    first_moments,
    second_moments,
    *,
    learning_rate,
    beta1,
    beta2,
    eps,
    step,
    weight_decay,
    decoupled,
):
    def rule(p, g, m, v, decay):
        if decoupled:  # AdamW, algorithm 2 of Loshchilov & Hutter with the schedule inside the learning rate
            p = p - learning_rate * decay * p
        else:
            g = g + decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
        return p - learning_rate * m_hat / (math.sqrt(v_hat) + eps), m, v

    return _each_number(rule, (params, grads, first_moments, second_moments), weight_decay)


# --- batches ----------------------------------------------------------------------------------------------------


def gather_batch(images, indices, affine, erase, scale, offset):
    _, height, width, channels = images.shape
    batch = np.empty((len(indices), height, width, channels))
    output = np.indices((height, width))
    for k, index in enumerate(indices):
        places = np.einsum("ab,bij->aij", affine[k, :, :2], output) + affine[k, :, 2, None, None]
        for c in range(channels):
            seen = ndimage.map_coordinates(images[index, :, :, c].astype(float), places, order=1, mode="nearest")
            batch[k, :, :, c] = scale[c] * seen + offset[c]
        top, left, tall, wide = erase[k]
        for row in range(top, top + tall):
            for column in range(left, left + wide):
                batch[k, row, column] = 0
    return (batch,)
