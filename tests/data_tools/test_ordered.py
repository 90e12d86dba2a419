"""Decoding on several threads: the same pack for every number of them, in bounded memory."""

import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from drawn import configured, encoded, files_of, pixels, png, prepared, write_tree

from data_tools.prepare import prepare
from data_tools.reading.images import decode
from data_tools.reading.ordered import CHUNK_ITEMS, ordered_map
from foundation.errors import UserError


@pytest.mark.parametrize("count", [0, 1, CHUNK_ITEMS, CHUNK_ITEMS + 1, 1000])
@pytest.mark.parametrize("workers", [1, 3])
def test_results_keep_the_order(count: int, workers: int) -> None:
    assert list(ordered_map(lambda x: x * x, range(count), workers, lambda _: 1)) == [x * x for x in range(count)]


@pytest.mark.parametrize(("size", "chunk"), [(1, CHUNK_ITEMS), (64 * 2**20, 1)])
def test_the_stream_is_read_no_further_than_needed(size: int, chunk: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield number

    results = ordered_map(lambda x: x, items(), 2, lambda _: size)
    for number in range(5 * CHUNK_ITEMS):
        assert next(results) == number
        assert taken <= number + 1 + 6 * chunk
    results.close()
    assert taken < 10_000


def test_several_threads_are_used() -> None:
    together = threading.Barrier(3, timeout=60)
    list(ordered_map(lambda _: together.wait(), range(3), 3, lambda _: 2**30))


def test_an_error_comes_in_its_items_place() -> None:
    def fail_at_seven(number: int) -> int:
        return 1 // (7 - number)

    results = ordered_map(fail_at_seven, range(100), 2, lambda _: 2**30)
    assert [next(results) for _ in range(7)] == [1 // (7 - n) for n in range(7)]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_the_pack_does_not_depend_on_the_number_of_workers(root: Path) -> None:
    files = files_of({"train": 60, "validation": 10, "test": 10})
    files |= {f"train/cat/{i}.jpg": encoded(pixels(i, 30 + i), "jpeg") for i in range(20)}
    write_tree(root / "tiny", files | {"train/cat/cut.png": png(5)[:40], "train/fish/x.png": png(6)})
    packs = [
        prepared(configured(root, "tiny", data={"workers": number, "pack_dir": str(root / f"../packs{number}")}))
        for number in (1, 2, 5)
    ]
    assert len({pack.json["content_hash"] for pack in packs}) == 1
    assert len({(pack.folder / "manifest.csv").read_bytes() for pack in packs}) == 1
    assert len({pack.folder.name for pack in packs}) == 1


@pytest.mark.parametrize("number", [0, -2])
def test_impossible_number_of_workers(root: Path, number: int) -> None:
    with pytest.raises(UserError, match=f"data.workers: must be positive and at most 1,024, got {number}"):
        prepare(configured(root, "tiny", data={"workers": number}))


def test_decoders_are_quiet_on_every_thread_and_leave_the_filters_as_they_were() -> None:
    odd = bytearray(encoded(pixels(1, 64), "tiff"))
    odd[-20:] = b"\xff" * 20  # a damaged directory of tags, of which Pillow warns
    before = list(warnings.filters)

    def attempt(_: int) -> str:
        try:
            decode(bytes(odd))
        except Exception as error:
            return type(error).__name__
        return "decoded"

    assert set(ordered_map(attempt, range(400), 4, lambda _: 2**20)) <= {"decoded", "ImageError"}
    assert warnings.filters == before
