"""Threads that share out chunks of work."""

import os
import threading
from functools import partial

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

pytest.importorskip("numba", reason="Numba (the extra `fast`) is not installed")

from cnn.backends import Window, get_ops
from cnn.backends.cpu.spin import spin as awake
from cnn.backends.cpu.workers import Workers, chunks

THREADS = (1, 2, 3, 5)


@pytest.fixture(params=["asleep", "awake"])
def spin(request):
    return awake if request.param == "awake" else None


@pytest.mark.parametrize("threads", THREADS)
def test_results_come_in_the_order_of_the_work(threads, spin):
    workers = Workers(threads, spin)
    for count in (0, 1, 2, 7, 100):
        assert workers.map(lambda number: number**2, range(count)) == [number**2 for number in range(count)]


@pytest.mark.parametrize("threads", THREADS)
def test_an_error_in_any_thread_reaches_the_caller_and_the_next_map_works(threads, spin):
    workers = Workers(threads, spin)

    def fail(number):
        if number == 3:
            raise ValueError("three")
        return number

    for _ in range(20):
        with pytest.raises(ValueError, match="three"):
            workers.map(fail, range(9))
        assert workers.map(str, range(9)) == list("012345678")


def test_errors_in_all_threads_are_gone_with_the_map_that_raised_one(spin):
    workers = Workers(3, spin)

    def fail(number):
        met.wait()  # every thread has a chunk before any fails
        raise ValueError(str(number))

    for _ in range(20):
        met = threading.Barrier(3, timeout=20)
        with pytest.raises(ValueError, match=r"[012]"):
            workers.map(fail, range(3))
        assert workers.map(str, range(9)) == list("012345678")


def test_all_threads_take_part(spin):
    workers, met = Workers(3, spin), threading.Barrier(3, timeout=20)
    assert workers.map(lambda number: met.wait() >= 0, range(3)) == [True] * 3


def test_a_map_within_a_map_and_maps_from_other_threads(spin):
    workers = Workers(2, spin)
    nested = workers.map(lambda number: sum(workers.map(lambda other: number * other, range(4))), range(5))
    assert nested == [6 * number for number in range(5)]
    found = {}

    def use(name):
        for _ in range(50):
            found[name] = workers.map(lambda number: number + name, range(10))

    others = [threading.Thread(target=use, args=(name,)) for name in range(4)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert found == {name: [number + name for number in range(10)] for name in range(4)}


def test_threads_end_with_their_workers(spin):
    before = set(threading.enumerate())
    workers = Workers(4, spin)
    workers.map(str, range(8))
    helpers = set(threading.enumerate()) - before
    assert len(helpers) == 3
    del workers
    for helper in helpers:
        helper.join(timeout=20)
        assert not helper.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_has_threads_of_its_own(spin):
    workers = Workers(2, spin)
    workers.map(str, range(8))
    child = os.fork()
    if child == 0:
        os._exit(0 if workers.map(lambda number: number + 1, range(8)) == list(range(1, 9)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_chunks_cover_a_range_once():
    for length, size in ((0, 3), (1, 3), (7, 3), (9, 3), (5, 0)):
        covered = [number for chunk in chunks(length, size) for number in range(length)[chunk]]
        assert covered == list(range(length))


def test_fewer_than_one_thread_is_refused():
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        Workers(0)


@pytest.mark.parametrize("convolution", ["im2col", "direct", "winograd4"])
def test_blas_threads_are_the_users(convolution, rng):
    """The engine leaves them as they are, and computes the same bits whatever they are: it does not use BLAS."""
    x, w, v = (rng.normal(size=shape).astype(np.float32) for shape in ((9, 14, 14, 24), (3, 3, 24, 40), (64, 500)))
    window, results = Window.over((14, 14), 3, 1, "same"), []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            ops = get_ops("cpu", 2, convolution=convolution)
            y = ops.conv2d(x, w, None, window, 1)
            results.append(
                [
                    y,
                    ops.conv2d_backward_input(y, w, window, 1),
                    ops.conv2d_backward_filter(y, x, window, 1),
                    ops.dense(v.T.copy(), v, None),
                    ops.dense_backward_filter(v, v),
                    ops.dense_backward_input(v, v),
                    ops.bias_backward(y),
                ]
            )
            found = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
            assert found
            assert set(found) == {threads}
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


# --- work beside what follows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", THREADS)
def test_what_is_left_for_later_is_done_when_it_is_joined(threads, spin):
    workers = Workers(threads, spin)
    for count in (0, 1, 2, 50):
        done = []
        for number in range(count):
            workers.later(partial(done.append, number))
            assert workers.map(str, range(3)) == ["0", "1", "2"]
        workers.join()
        assert sorted(done) == list(range(count))


def test_what_is_left_for_later_runs_beside_the_caller(spin):
    workers, met = Workers(2, spin), threading.Barrier(2, timeout=20)
    workers.later(met.wait)
    met.wait()
    workers.join()


def test_a_map_in_what_is_left_for_later_is_done_by_its_thread(spin):
    workers, found = Workers(2, spin), []
    workers.later(lambda: found.extend(workers.map(lambda number: threading.get_ident(), range(20))))
    workers.join()
    assert len(found) == 20
    assert len(set(found)) == 1


@pytest.mark.parametrize("threads", THREADS)
def test_an_error_in_what_is_left_for_later_is_raised_at_the_latest_when_it_is_joined(threads, spin):
    workers = Workers(threads, spin)

    def fail():
        raise ValueError("three")

    for _ in range(20):
        with pytest.raises(ValueError, match="three"):  # noqa: PT012 -- one thread alone raises it at once
            workers.later(lambda: None)
            workers.later(fail)
            workers.join()
        workers.join()
        assert workers.map(str, range(9)) == list("012345678")


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("policy", ["auto", "tune"])
def test_gradients_beside_what_follows_are_the_same_bits(images, policy):
    rng = np.random.default_rng(images)
    x, dy = (rng.normal(size=(images, 12, 12, channels)).astype(np.float32) for channels in (16, 24))
    w, window = rng.normal(size=(3, 3, 16, 24)).astype(np.float32), Window.over((12, 12), (3, 3), padding="same")
    found = []
    for threads in (1, 2, 2, 3):
        ops = get_ops("cpu", threads, convolution="direct" if policy == "auto" else policy)
        dw, db = ops.empty(w.shape, w.dtype), ops.empty((24,), w.dtype)
        dw[...] = db[...] = np.nan
        with ops.beside(dy, x):
            ops.conv2d_backward_filter(dy, x, window, 1, out=dw)
            ops.bias_backward(dy, out=db)
        dx = ops.conv2d_backward_input(dy, w, window, 1)
        ops.join()
        found.append((dw, db, dx))
    wanted = get_ops("numpy").conv2d_backward_filter(dy, x, window, 1)
    np.testing.assert_allclose(found[0][0], wanted, rtol=1e-4, atol=1e-3)
    if policy == "auto":
        for others in found[1:]:
            for one, other in zip(found[0], others, strict=True):
                np.testing.assert_array_equal(one, other)
