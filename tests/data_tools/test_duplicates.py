"""Duplicates at every level are found among distinct images, which are not; an interrupted search can continue."""

import hashlib
import io
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn import photograph, turned
from PIL import Image

from data_tools.duplicates import search
from data_tools.duplicates.alignment import Aligner, after, corner_shift, inverse
from data_tools.duplicates.assign import Grouping, find_groups
from data_tools.duplicates.candidates import ALL_PAIRS_UP_TO, Candidates
from data_tools.duplicates.grouping import Groups, loose
from data_tools.duplicates.levels import LEVELS
from data_tools.duplicates.perceptual_hash import perceptual_hashes
from data_tools.duplicates.search import NearDuplicate, find_near_duplicates
from data_tools.duplicates.settings import SearchConfig
from data_tools.reading.manifest import Row

ANY = SearchConfig(strangers=1)  # however few images there are
FEW, MANY = 12, ALL_PAIRS_UP_TO + 30  # all pairs are compared; candidates come from the indexes


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resized(image: np.ndarray, size: int) -> np.ndarray:
    small = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(small.resize(image.shape[::-1], Image.Resampling.BICUBIC))


def trimmed(image: np.ndarray, pixels: int) -> np.ndarray:
    inner = Image.fromarray(image[pixels:, pixels:])
    return np.asarray(inner.resize(image.shape[::-1], Image.Resampling.BICUBIC))


def brighter(image: np.ndarray) -> np.ndarray:
    return np.clip(image * 0.7 + 50.0, 0, 255).astype(np.uint8)


COPIES: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "the same": ("pixels", lambda image: image.copy()),
    "jpeg": ("near", lambda image: jpeg(image, 60)),
    "smaller and back": ("near", lambda image: resized(image, 36)),
    "brighter and paler": ("near", brighter),
    "trimmed": ("near", lambda image: trimmed(image, 3)),
    "mirrored": ("mirrored", lambda image: image[:, ::-1].copy()),
    "mirrored jpeg": ("mirrored", lambda image: jpeg(image[:, ::-1].copy(), 70)),
    "turned": ("augmented", lambda image: turned(image, 15)),
    "zoomed and moved": ("augmented", lambda image: turned(image, 0, 1.15, 3)),
    "turned, zoomed, mirrored": ("augmented", lambda image: turned(image[:, ::-1], -12, 0.9, -2)),
}


def row(name: str, image: np.ndarray, data: bytes | None = None) -> Row:
    data = name.encode() if data is None else data
    digests = (hashlib.sha256(part).hexdigest() for part in (data, image.tobytes()))
    return Row(name, "s", name, "train", "cat", "cat", *digests)


def grouped(samples: dict[str, np.ndarray], level: str = "augmented", workers: int | None = None) -> Grouping:
    rows = [row(name, image) for name, image in samples.items()]
    images = {name: image[:, :, None] for name, image in samples.items()}
    return find_groups(rows, images, level, ANY, workers)


@pytest.fixture(scope="module")
def distinct() -> dict[str, np.ndarray]:
    return {f"{seed:03}": photograph(seed) for seed in range(MANY)}


def test_each_copy_is_found_at_its_level_among_few() -> None:
    samples = {f"{place:02} {name}": photograph(place) for place, name in enumerate(COPIES)}
    copies = {f"{key} copy": COPIES[key[3:]][1](image) for key, image in samples.items()}
    found = grouped(samples | copies)
    for key in samples:
        expected = LEVELS.index(COPIES[key[3:]][0])
        for level, groups in found.groups.items():
            together = groups[key] == groups[f"{key} copy"]
            assert together == (LEVELS.index(level) >= expected), f"{key} at {level}"
    for level in found.groups:
        for members in _members(found, level):
            assert len({name.removesuffix(" copy") for name in members}) == 1, (
                f"distinct images in one group at {level}"
            )


def test_each_copy_is_found_through_the_indexes(distinct: dict[str, np.ndarray]) -> None:
    copies = {f"{place:03} copy": make(distinct[f"{place:03}"]) for place, (_, make) in enumerate(COPIES.values())}
    found = grouped(distinct | copies)
    groups = found.groups["augmented"]
    assert [name for name in copies if groups[name] != groups[name.removesuffix(" copy")]] == []
    assert all(len({name.removesuffix(" copy") for name in members}) == 1 for members in _members(found, "augmented"))


@pytest.mark.parametrize(
    ("degrees", "zoom", "move", "mirrored"),
    [
        (-30, 1, 0, False),
        (36, 1, 0, False),
        (30, 1, 0, True),
        (0, 1, 9, False),
        (0, 1.15, -9, True),
        (8, 1.45, 0, False),
    ],
)
def test_far_warped_copies(
    distinct: dict[str, np.ndarray], degrees: float, zoom: float, move: float, mirrored: bool
) -> None:
    """Further than the embedding bears: found by asking with the image warped back."""
    chosen = list(distinct)[:12]
    copies = {
        f"{name} copy": turned(distinct[name][:, ::-1] if mirrored else distinct[name], degrees, zoom, move)
        for name in chosen
    }
    groups = grouped(distinct | copies).groups["augmented"]
    found = [name for name in chosen if groups[name] == groups[f"{name} copy"]]
    assert len(found) >= 10
    assert len({groups[name] for name in distinct}) == len(distinct)


def test_distinct_images_are_not_duplicates(distinct: dict[str, np.ndarray]) -> None:
    found = grouped(distinct)
    assert found.confirmed == []
    assert len(set(found.groups["augmented"].values())) == len(distinct)


def test_only_what_is_asked_for_is_searched() -> None:
    samples = {"a": photograph(0), "b": photograph(0)[:, ::-1].copy()}
    assert list(grouped(samples, "pixels").groups) == ["none", "bytes", "pixels"]
    near = grouped(samples, "near")
    assert near.groups["near"] == {"a": "a", "b": "b"}
    assert "mirrored" not in near.groups


def test_bytes_and_pixels() -> None:
    image = photograph(1)
    rows = [row("a", image, b"1"), row("b", image, b"1"), row("c", image, b"2"), row("d", photograph(2), b"3")]
    images = dict.fromkeys("abc", image[:, :, None]) | {"d": photograph(2)[:, :, None]}
    found = find_groups(rows, images, "pixels", SearchConfig())
    assert found.groups["none"] == {name: name for name in "abcd"}
    assert found.groups["bytes"] == {"a": "a", "b": "a", "c": "c", "d": "d"}
    assert found.groups["pixels"] == {"a": "a", "b": "a", "c": "a", "d": "d"}


def test_blank_images_are_duplicates_only_by_their_pixels() -> None:
    blank = {
        "black": np.zeros((48, 48), np.uint8),
        "black too": np.zeros((48, 48), np.uint8),
        "grey": np.full((48, 48), 128, np.uint8),
        "almost": np.full((48, 48), 128, np.uint8) + np.eye(48, dtype=np.uint8),
    }
    found = grouped(blank | {"seen": photograph(0)})
    assert found.blank == set(blank)
    assert found.groups["augmented"] == {
        "black": "black", "black too": "black", "grey": "grey", "almost": "almost", "seen": "seen",
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(8, 8), (64, 48), (31, 57), (200, 200)])
def test_sizes_other_than_48(shape: tuple[int, int]) -> None:
    big = photograph(3, max(shape))[: shape[0], : shape[1]]
    samples = {"a": big, "b": brighter(big), "c": photograph(4, max(shape))[: shape[0], : shape[1]]}
    groups = grouped(samples, "near").groups["near"]
    assert groups == {"a": "a", "b": "a", "c": "c"}


def test_colour() -> None:
    colours = np.stack([photograph(5), photograph(6), photograph(7)], axis=2)
    grey = np.asarray(Image.fromarray(colours).convert("L"))
    rows = [row("colour", colours), row("grey", grey)]
    images = {"colour": colours, "grey": np.repeat(grey[:, :, None], 3, axis=2)}
    assert find_groups(rows, images, "near", ANY).groups["near"] == {"colour": "colour", "grey": "colour"}


@pytest.mark.parametrize("number", [0, 1])
def test_too_few_to_compare(number: int) -> None:
    found = grouped({str(place): photograph(place) for place in range(number)})
    assert len(found.groups["augmented"]) == number


def test_neither_order_nor_workers_matter(distinct: dict[str, np.ndarray]) -> None:
    copies = {f"{place:03} copy": make(distinct[f"{place:03}"]) for place, (_, make) in enumerate(COPIES.values())}
    samples = distinct | copies
    once = grouped(samples, workers=1)
    again = grouped(dict(reversed(samples.items())), workers=5)
    assert (once.groups, once.loose, sorted(once.confirmed)) == (again.groups, again.loose, sorted(again.confirmed))


# --- Groups ------------------------------------------------------------------------------------------------------


def test_a_wrong_pair_does_not_chain_two_faces_together() -> None:
    """Copies of one image, copies of another, and one false pair between two members."""
    one, other = photograph(20), photograph(21)
    samples = np.stack([one, turned(one, 8), turned(one, -8), turned(one, 0, 1.1), other, turned(other, 8)])
    aligner = Aligner(samples, SearchConfig())
    pairs = {(0, 1): True, (0, 2): True, (0, 3): True, (3, 4): False, (4, 5): True}
    duplicates = []
    for (first, second), right in pairs.items():
        (match,) = aligner.confirm(np.array([[first, second, 0]]), np.array([0.7], np.float32))
        assert (match is not None) == right
        affine = match.affine if match else np.eye(2, 3)
        duplicates.append(NearDuplicate(first, second, "augmented", 0.9, affine))
    groups = Groups(len(samples))
    groups.join(duplicates, aligner)
    parts = [groups.representative[place] for place in range(6)]
    assert parts[0] == parts[1] == parts[2] == parts[3] != parts[4] == parts[5]
    assert [(duplicate.first, duplicate.second) for duplicate in loose(duplicates, groups.representative)] == [(3, 4)]


def test_copies_of_copies_are_one_group_by_way_of_their_original() -> None:
    """The two outer ones are turned against each other by more than the search tries directly."""
    image = photograph(22)
    samples = {"a": turned(image, 22), "b": image, "c": turned(image[:, ::-1], 22)}
    assert set(grouped(samples).groups["augmented"].values()) == {"a"}


def test_groups_of_a_level_lie_within_those_of_the_next(distinct: dict[str, np.ndarray]) -> None:
    copies = {f"{name} {at:03}": make(distinct[f"{at:03}"]) for at in range(5) for name, (_, make) in COPIES.items()}
    found = grouped(distinct | copies)
    levels = list(found.groups)
    for finer, coarser in itertools.pairwise(levels):
        for members in _members(found, finer):
            assert len({found.groups[coarser][name] for name in members}) == 1


# --- Parts -------------------------------------------------------------------------------------------------------


def test_candidates_are_sorted_unique_and_in_order(distinct: dict[str, np.ndarray]) -> None:
    samples = np.stack(list(distinct.values()))
    pairs, alike = Candidates(samples).nearest(5, True)
    assert len(pairs) == len(alike)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    keys = [tuple(pair) for pair in pairs.tolist()]
    assert keys == sorted(set(keys))
    assert len(pairs) < 2 * 2 * 5 * len(samples)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_map_is_the_warp(mirrored: bool) -> None:
    """Turned by 10 degrees about the middle: places move as trigonometry says."""
    image = photograph(30)
    copy = turned(image[:, ::-1] if mirrored else image, 10)
    aligner = Aligner(np.stack([image, copy]), SearchConfig())
    (match,) = aligner.confirm(np.array([[0, 1, mirrored]]), np.array([0.7], np.float32))
    assert match is not None
    place = np.array([36.0, 20.0])
    x = 47 - place[0] if mirrored else place[0]
    # turned() says where the copy looks; what it shows goes the other way round. Its first axis is y.
    angle, dx, dy = np.deg2rad(10), x - 23.5, place[1] - 23.5
    expected = 23.5 + np.array([np.cos(angle) * dx - np.sin(angle) * dy, np.sin(angle) * dx + np.cos(angle) * dy])
    got = match.affine @ [*place, 1.0]
    np.testing.assert_allclose(got, expected, atol=0.3)
    if mirrored:  # confirm() speaks of the second image as it is stored
        assert np.linalg.det(match.affine[:, :2]) < 0


def test_affine_arithmetic() -> None:
    rng = np.random.default_rng(3)
    one, two = (np.column_stack([np.eye(2) + rng.normal(0, 0.2, (2, 2)), rng.normal(0, 3, 2)]) for _ in range(2))
    place = np.array([7.0, 31.0])
    through = one @ [*(two @ [*place, 1.0]), 1.0]
    np.testing.assert_allclose(after(one, two) @ [*place, 1.0], through)
    np.testing.assert_allclose(after(one, inverse(one)), np.eye(2, 3), atol=1e-12)
    assert corner_shift(np.array([[1.0, 0.0, 3.0], [0.0, 1.0, 4.0]])) == pytest.approx(5)
    assert corner_shift(np.array([[-1.0, 0.0, 47.0], [0.0, 1.0, 0.0]])) == pytest.approx(0)


def test_perceptual_hash_survives_light_and_distinguishes_images() -> None:
    samples = np.stack([photograph(seed) for seed in range(20)])
    hashes = np.unpackbits(perceptual_hashes(samples), axis=1)
    brightened = np.unpackbits(perceptual_hashes(np.stack([brighter(sample) for sample in samples])), axis=1)
    assert (hashes != brightened).sum(axis=1).max() <= 3
    apart = (hashes[:, None] != hashes[None]).sum(axis=2)[np.triu_indices(20, 1)]
    assert apart.min() > 7


# --- Taking the search up again ----------------------------------------------------------------------------------


def test_an_interrupted_search_goes_on(
    distinct: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_CHUNK", 100)
    samples = np.stack([*distinct.values(), *(turned(distinct[f"{at:03}"], 10) for at in range(9))])
    usable = np.ones(len(samples), bool)
    aligner = Aligner(samples, SearchConfig())
    expected = find_near_duplicates(samples, usable, "augmented", aligner)
    assert len(expected) == 9

    def stop(what: str, done: int, total: int) -> None:
        if done >= 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_near_duplicates(samples, usable, "augmented", aligner, cache=tmp_path, report=stop)
    (folder,) = tmp_path.iterdir()
    pieces = sorted(folder.iterdir())
    assert len(pieces) == 5

    pieces[2].write_bytes(pieces[2].read_bytes()[:-5])  # damaged while nobody looked
    pieces[3].write_bytes(b"no array at all")
    compared: list[tuple[int, int]] = []
    confirm = Aligner.confirm

    def counting(self: Aligner, pairs: np.ndarray, alike: np.ndarray) -> object:
        compared.extend(map(tuple, pairs[:, :2].tolist()))
        return confirm(self, pairs, alike)

    monkeypatch.setattr(Aligner, "confirm", counting)
    totals: list[int] = []
    again = find_near_duplicates(
        samples, usable, "augmented", aligner, cache=tmp_path,
        report=lambda what, done, total: totals.append(total if what == "comparing candidates" else 0),
    )  # fmt: skip
    assert [_plain(duplicate) for duplicate in again] == [_plain(duplicate) for duplicate in expected]
    damaged = sum(name in (pieces[2], pieces[3]) for name in pieces)
    assert len(compared) == max(totals) - (5 - damaged) * 100
    compared.clear()
    find_near_duplicates(samples, usable, "augmented", aligner, cache=tmp_path)
    assert compared == []
    (result,) = tmp_path.iterdir()  # the pieces are gone
    assert result.is_file()

    # A finished search is not even begun again, unless it is another one.
    monkeypatch.setattr(search, "Candidates", None)
    assert [
        _plain(duplicate) for duplicate in find_near_duplicates(samples, usable, "augmented", aligner, cache=tmp_path)
    ] == [_plain(duplicate) for duplicate in expected]
    with pytest.raises(TypeError):
        find_near_duplicates(samples, usable, "mirrored", aligner, cache=tmp_path)
    usable[0] = False
    with pytest.raises(TypeError):
        find_near_duplicates(samples, usable, "augmented", aligner, cache=tmp_path)


def _plain(duplicate: NearDuplicate) -> tuple[int, int, str, float]:
    return duplicate.first, duplicate.second, duplicate.level, duplicate.detail


def _members(found: Grouping, level: str) -> list[list[str]]:
    members: dict[str, list[str]] = {}
    for name, group in found.groups[level].items():
        members.setdefault(group, []).append(name)
    return [names for names in members.values() if len(names) > 1]
