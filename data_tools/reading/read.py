"""Read the sources: rows of the manifest, and images of one size."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from data_tools.reading.decoded import Decoded, DecodedStore, DecodedStores
from data_tools.reading.images import ImageError, bytes_sha256, canonical, fit, pixels_sha256, read_image
from data_tools.reading.labels import LabelMap
from data_tools.reading.manifest import SET_ASIDE, Row
from data_tools.reading.modes import Pixels
from data_tools.reading.ordered import cores, ordered_map
from data_tools.reading.thumbnails import thumbnail
from data_tools.reading.value_range import Span, ValueRange, fits, float_range, span_of, whole_range
from data_tools.sources.base import Entry, Source


@dataclass
class Collection:
    """All input images. `images` and `thumbnails` have the ids of all rows that are not set aside.

    Rows with equal pixels share one array. `thumbnails` are made from the original pixels: duplicates are sought among
    them, so that a small size of the pack does not make different images equal. `tops` has the value that became 255
    for every source with images of more than 8 bits, which prediction needs.
    """

    rows: list[Row] = field(default_factory=list)
    images: dict[str, np.ndarray] = field(default_factory=dict)  # uint8 (size, size, channels)
    thumbnails: dict[str, np.ndarray] = field(default_factory=dict)  # uint8 (48, 48)
    tops: dict[str, int] = field(default_factory=dict)


def read(
    sources: Iterable[Source],
    labels: Mapping[str, LabelMap],
    size: int,
    channels: int,
    advance: Callable[[], object],
    workers: int | None = None,
    stores: DecodedStores | None = None,
) -> Collection:
    """Read every entry of every source and call `advance()` for each. Unusable images are set aside with a reason.

    `labels` has a map for every source. Images are decoded by `workers` threads (None: one per core), whose number
    does not change the result. The range of 16-bit and floating-point values is decided for each source when all its
    images are read. Images that an interrupted run has put into `stores` are taken from there, and new
    ones are added.
    """
    collection = Collection()

    def examine(entry: Entry) -> Decoded:
        row = Row("", entry.source, entry.path, entry.original_split, entry.label)
        row.votes = _votes(entry, labels[entry.source])
        pixels = _examine(entry, row, labels[entry.source])
        if pixels is None:
            return Decoded(row, None, None)
        return Decoded(row, fit(pixels, size, channels), thumbnail(pixels), span_of(pixels))

    shared: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for source in sources:
        seen: Counter[str] = Counter()
        spans: dict[str, tuple[Row, Span]] = {}  # of the images of more than 8 bits
        for decoded in _decoded(source, examine, workers or cores(), stores[source.name] if stores else None):
            row = decoded.row
            row.id = f"{row.source}:{row.path}"
            seen[row.id] += 1
            if seen[row.id] > 1:  # an archive may hold one path twice
                row.id += f"#{seen[row.id]}"
            collection.rows.append(row)
            if decoded.image is not None and decoded.thumbnail is not None:
                pair = decoded.image, decoded.thumbnail
                if pair[0].shape == (*pair[1].shape, 1):  # they are equal: one array is enough
                    pair = pair[0], pair[0][:, :, 0]
                collection.images[row.id], collection.thumbnails[row.id] = shared.setdefault(row.pixels_sha256, pair)
            if decoded.span is not None:
                spans[row.id] = row, decoded.span
            advance()
        _decide_ranges(source.name, spans, collection)
    return collection


def _decide_ranges(source: str, spans: Mapping[str, tuple[Row, Span]], collection: Collection) -> None:
    """Reduce the source's images of more than 8 bits to 8, by one range for each of the two kinds."""
    for floating in (False, True):
        own = {name: (row, span) for name, (row, span) in spans.items() if span.floating == floating}
        if not own:
            continue
        of_all = [span for _, span in own.values()]
        range_ = float_range(of_all) if floating else whole_range(of_all)
        if range_ is not None:
            collection.tops[source] = max(range_.top, collection.tops.get(source, 0))
        for name, (row, span) in own.items():
            _reduce(name, row, span, range_, collection)


def _reduce(name: str, row: Row, span: Span, range_: ValueRange | None, collection: Collection) -> None:
    image, small = collection.images.pop(name), collection.thumbnails.pop(name)
    if range_ is None:
        row.status = SET_ASIDE
        row.reason = f"floating-point pixels up to {span.highest:.4g}: the range of the source is not clear"
    elif not fits(span, range_):
        row.status = SET_ASIDE
        row.reason = f"floating-point pixels up to {span.highest:.4g}, while others of the source end at {range_.top}"
    else:
        mode, *notes = row.mode.split("; ")
        row.mode = "; ".join([f"{mode}: {range_.text}", *notes])
        collection.images[name], collection.thumbnails[name] = range_.reduce(image), range_.reduce(small)


def _decoded(
    source: Source, examine: Callable[[Entry], Decoded], workers: int, store: DecodedStore | None
) -> Iterator[Decoded]:
    """The images of the source in its order, taken from the store as long as it agrees with the source."""
    known = deque(store.load() if store else ())
    if store and store.complete:
        source.ignored = store.ignored
        yield from known
        return
    if known:
        print(f"{source.name}: continuing after {len(known):,} images that an interrupted run has decoded")

    def tasks() -> Iterator[Entry | Decoded]:
        for entry in source.entries():
            if known and not _same(known[0].row, entry):
                known.clear()  # the order of the source has changed
                assert store is not None
                store.give_up()
            yield known.popleft() if known else entry

    count = 0
    for was_known, decoded in ordered_map(
        lambda task: (True, task) if isinstance(task, Decoded) else (False, examine(task)),
        tasks(),
        workers,
        lambda task: len(task.data or b"") if isinstance(task, Entry) else 0,
    ):
        if store and not was_known:
            store.add(decoded)
        count += 1
        yield decoded
    if store:
        store.finish(count, source.ignored)


def _votes(entry: Entry, labels: LabelMap) -> str:
    """The fractions of the votes for classes, as JSON; votes for other names do not count. Empty if there are none."""
    votes: dict[str, float] = {}
    for name, number in entry.votes:
        if (label := labels(name)) is not None and number > 0:
            votes[label] = votes.get(label, 0.0) + number
    total = sum(votes.values())
    return json.dumps({label: round(votes[label] / total, 6) for label in sorted(votes)}) if votes else ""


def _same(row: Row, entry: Entry) -> bool:
    return (
        (row.path, row.original_split, row.raw_label) == (entry.path, entry.original_split, entry.label)
        and row.bytes_sha256 == _bytes_hash(entry)
        and (not entry.error or row.reason == entry.error)
    )


def _bytes_hash(entry: Entry) -> str:
    if entry.data is not None:
        return bytes_sha256(entry.data)
    return "" if entry.pixels is None else bytes_sha256(entry.pixels.tobytes())


def _examine(entry: Entry, row: Row, labels: LabelMap) -> np.ndarray | None:
    """Set label, hashes, size, mode and status of `row`; return canonical pixels, or None if it is set aside.

    They are uint8, or uint16 or float32 of a range that is not decided yet.
    """
    row.label = labels(entry.label) or ""
    row.bytes_sha256 = _bytes_hash(entry)
    try:
        if entry.error:
            raise ImageError(entry.error)
        if entry.data is not None:
            read = read_image(entry.data)
        else:
            assert entry.pixels is not None
            read = Pixels(canonical(entry.pixels), "values of a table")
        pixels, row.mode = read.values, read.mode
        row.height, row.width = pixels.shape[:2]
        row.pixels_sha256 = pixels_sha256(pixels)
        if not row.label:
            raise ImageError(f"unknown label '{entry.label}'")
    except ImageError as error:
        row.status, row.reason = SET_ASIDE, str(error)
        return None
    return pixels
