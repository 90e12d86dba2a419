"""The compiled kit's matrix products against NumPy's, at sizes that fill no tile."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed (pip install -e '.[fast]')")

from cnn.backends.compiled_ops.conv_kit import CompiledConvKit
from cnn.backends.numpy_ops.conv_algorithms import filter_pieces
from cnn.backends.numpy_ops.memory import Pool

KIT = CompiledConvKit()


def multiplied(a, b, pieces=(slice(None),)):
    """a @ b by the kit, into memory that holds anything but zeros."""
    out = np.full((len(a), a.shape[1], b.shape[2]), np.nan, a.dtype)
    form = KIT.form(b, Pool())
    for piece in pieces:
        KIT.products(a, form, out, piece)
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("depth", [1, 9, 255, 256, 257, 700])
@pytest.mark.parametrize("columns", [1, 7, 8, 9, 15, 16, 17, 40])
def test_any_number_of_rows_columns_and_terms(dtype, depth, columns, rng):
    for rows in (1, 2, 3, 4, 5, 6, 7, 12, 13, 23):
        a, b = rng.normal(size=(3, rows, depth)).astype(dtype), rng.normal(size=(3, depth, columns)).astype(dtype)
        tolerance = 1e-6 * np.sqrt(depth) if dtype == "float32" else 1e-13 * np.sqrt(depth)
        exact = a.astype("float64") @ b.astype("float64")
        np.testing.assert_allclose(multiplied(a, b), exact, rtol=0, atol=4 * tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [5, 16, 37, 64, 100, 129])
def test_pieces_of_the_columns_make_the_whole(dtype, columns, rng):
    a, b = rng.normal(size=(2, 11, 30)).astype(dtype), rng.normal(size=(2, 30, columns)).astype(dtype)
    np.testing.assert_array_equal(multiplied(a, b, filter_pieces(columns)), multiplied(a, b))


def test_no_column_beyond_a_piece_is_touched(rng):
    a, b = rng.normal(size=(1, 7, 20)), rng.normal(size=(1, 20, 48))
    out = multiplied(a, b, [slice(16, 32)])
    np.testing.assert_allclose(out[..., 16:32], (a @ b)[..., 16:32], atol=1e-12)
    assert np.isnan(out[..., :16]).all()
    assert np.isnan(out[..., 32:]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_row(value):
    """The zeros that fill up the last columns' group must not meet it in another's sum."""
    a, b = np.ones((1, 7, 4)), np.ones((1, 4, 3))
    a[0, 5, 2] = value
    out = multiplied(a, b)
    assert not np.isfinite(out[0, 5]).any()
    np.testing.assert_array_equal(np.delete(out, 5, axis=1), 4)
