"""Shared memory: static, dynamic, in templates, in headers, in macros."""

import numpy as np
import pytest

from cuda_emulator import EmulatorError

X = np.random.default_rng(5).integers(-99, 99, 64, dtype=np.int32)


def test_two_dimensions_with_padding(bench):
    x, y = np.arange(64, dtype=np.float32).reshape(8, 8), bench.xp.empty((8, 8), np.float32)
    bench.launch("transpose", bench.xp.asarray(x), y, block=(8, 8))
    assert np.array_equal(bench.xp.asnumpy(y), x.T)


def test_dynamic_memory_is_cut_up_by_the_kernel(bench):
    y = bench.xp.empty(64, np.float32)
    bench.launch("carve", y, np.int32(64), block=64, shared_mem=512)
    assert np.array_equal(bench.xp.asnumpy(y), 63 - np.arange(64) + 2 * np.arange(64))


def test_memory_of_a_template_in_a_header_is_one_for_each_type(bench):
    x = np.random.default_rng(1).standard_normal(128, dtype=np.float32)
    y, z = bench.xp.empty(1, np.float32), bench.xp.empty(1, np.float64)
    bench.launch("two_sums", bench.xp.asarray(x), y, z, block=128)
    assert np.allclose([y[0], z[0]], x.sum(dtype=np.float64), atol=1e-4)


@pytest.mark.parametrize(("name", "size", "sign"), [("reversed<32, false>", 32, 1), ("reversed<64,true>", 64, -1)])
def test_a_size_that_depends_on_a_template(bench, name, size, sign):
    y = bench.xp.empty(size, np.int32)
    bench.launch(name, bench.xp.asarray(X[:size]), y, block=size)
    assert np.array_equal(bench.xp.asnumpy(y), sign * X[:size][::-1])


def test_a_declaration_in_a_macro(bench):
    y = bench.xp.empty(32, np.int32)
    bench.launch("reversed_by_macro", bench.xp.asarray(X[:32]), y, block=32)
    assert np.array_equal(bench.xp.asnumpy(y), X[:32][::-1])


def test_unions_templates_pointers_and_volatile(bench):
    y = bench.xp.empty(8, np.float32)
    bench.launch("odd_declarations", y, block=8)
    assert np.array_equal(bench.xp.asnumpy(y), 3 + np.arange(8) % 4)


def test_static_and_dynamic_memory_together_have_a_limit(fast):
    y = fast.xp.empty(64, np.float32)
    with pytest.raises(EmulatorError, match="not 0 to 227 KiB"):
        fast.launch("carve", y, np.int32(64), block=64, shared_mem=(227 << 10) + 1)


def test_more_than_48_kib_of_dynamic_memory_must_be_allowed_first(fast):
    y = fast.xp.empty(64, np.float32)
    kernel = fast.module.get_function("carve")
    with pytest.raises(EmulatorError, match="49156 bytes of dynamic shared memory, but max_dynamic_shared_size_bytes"):
        fast.launch("carve", y, np.int32(64), block=64, shared_mem=(48 << 10) + 4)
    kernel.max_dynamic_shared_size_bytes = 64 << 10
    try:
        fast.launch("carve", y, np.int32(64), block=64, shared_mem=64 << 10)
        assert np.array_equal(fast.xp.asnumpy(y), 63 - np.arange(64) + 2 * np.arange(64))
    finally:
        kernel.max_dynamic_shared_size_bytes = 48 << 10
