"""The search keeps off images whose fine structure does not tell them apart, and finds planted copies in all others."""

import io
from pathlib import Path

import numpy as np
import pytest
from drawn import configured, encoded, photograph, prepared, turned, write_tree
from PIL import Image

from benchmarks.data.kinds import Kind, all_kinds
from data_tools.duplicates.assign import Grouping, find_groups
from data_tools.duplicates.settings import SearchConfig
from data_tools.duplicates.strangers import FEWEST
from data_tools.reading.images import pixels_sha256
from data_tools.reading.manifest import Row

NUMBER = 60
ALIKE = ("digits, 8 x 8", "digits, drawn", "shapes", "line drawings", "icons", "products on white", "medical, drawn")
APART = ("text", "textures, drawn", "satellite tiles, drawn", "photographs", "photographs, 32 x 32")
KINDS = {kind.name: kind for kind in all_kinds(NUMBER, seed=5)}


def grouped(images: list[np.ndarray], config: SearchConfig | None = None) -> Grouping:
    names = [f"{place:03}" for place in range(len(images))]
    digests = [pixels_sha256(image) for image in images]
    rows = [Row(n, "s", n, "train", "a", "a", n, digest) for n, digest in zip(names, digests, strict=True)]
    return find_groups(rows, {n: _deep(image) for n, image in zip(names, images, strict=True)}, "augmented",
                       config or SearchConfig(), 2)  # fmt: skip


def _deep(image: np.ndarray) -> np.ndarray:
    return image[:, :, None] if image.ndim == 2 else image


def jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=80)
    return np.asarray(Image.open(file))


def test_every_kind_is_tested() -> None:
    assert set(KINDS) == {*ALIKE, *APART}
    assert all(len(kind.images) >= 50 for kind in KINDS.values())


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.parametrize("number", [20, NUMBER])
def test_images_that_are_alike_stay(name: str, number: int) -> None:
    images = KINDS[name].images[:number]
    found = grouped([*images, images[3], images[3].copy()])
    assert list(found.groups) == ["none", "bytes", "pixels", "near", "mirrored"]
    assert found.level("augmented") == "mirrored"
    for level in ("pixels", "near", "mirrored"):
        assert len(set(found.groups[level].values())) == number  # the planted copies are found, and nothing else
    assert found.strangers is not None
    assert found.strangers.agreement > SearchConfig().strangers
    assert f"{found.strangers.agreement:.2f}" in found.note
    assert "merge.twins.strangers=1" in found.note


@pytest.mark.parametrize("name", APART)
def test_images_that_differ_are_searched(name: str) -> None:
    images = KINDS[name].images
    assert _lost(images) == 0
    detailed = sorted(range(len(images)), key=lambda at: -images[at].std())[:9]
    made = (jpeg, lambda image: np.ascontiguousarray(image[:, ::-1]), lambda image: jpeg(image[:, ::-1].copy()))
    copies = {place: made[number % 3](images[place]) for number, place in enumerate(detailed)}
    groups = grouped([*images, *copies.values()]).groups["augmented"]
    for number, place in enumerate(copies):
        assert groups[f"{len(images) + number:03}"] == groups[f"{place:03}"]
    assert len(set(groups.values())) == len(images)


def _lost(images: list[np.ndarray]) -> int:
    return len(images) - len(set(grouped(images).groups["augmented"].values()))


def test_skies_and_bricks_are_compared_without_a_warp() -> None:
    """In a collection that is safe to search, single images of little fine structure."""
    y, x = np.mgrid[:64, :64]
    skies = [np.rint(100 + x * a + y * (1 - a)).astype(np.uint8) for a in np.linspace(0.1, 0.9, 6)]
    edges = [np.where(x * np.cos(t) + y * np.sin(t) > 20, 90, 160).astype(np.uint8) for t in np.linspace(0.2, 1.3, 6)]
    found = grouped([*(photograph(seed, 64) for seed in range(30)), *skies, *edges, jpeg(edges[0])])
    groups = found.groups["augmented"]
    assert groups["042"] == groups["036"]
    assert len(set(groups.values())) == 42
    assert "little fine structure" in found.note
    lifted = grouped([*skies, *edges], SearchConfig(strangers=1, cells=0, fine=0))
    assert len(set(lifted.groups["augmented"].values())) < 12


def test_copies_do_not_make_a_collection_unsafe() -> None:
    """Each of 40 photographs comes with two warped copies."""
    originals = [photograph(seed) for seed in range(40)]
    copies = [turned(image, degrees, 1.1) for image in originals for degrees in (-9, 12)]
    groups = grouped([*originals, *copies]).groups["augmented"]
    assert len(set(groups.values())) == 40


def test_too_few_to_measure() -> None:
    images = [photograph(seed) for seed in range(FEWEST - 1)]
    found = grouped([*images, images[0][:, ::-1].copy()][: FEWEST - 1])
    assert found.level("augmented") == "pixels"
    assert "too few" in found.note
    assert "mirrored" in grouped([*images, images[0][:, ::-1].copy()]).groups


def test_digits_survive_the_default_policy(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind: Kind = KINDS["digits, 8 x 8"]
    classes = sorted(set(kind.labels))
    files = {f"{'test' if at % 5 == 0 else 'train'}/{label}/{at}.png": encoded(image)
             for at, (image, label) in enumerate(zip(kind.images, kind.labels, strict=True))}  # fmt: skip
    write_tree(root / "digits", files | {"train/0/copy.png": next(iter(files.values()))})
    data = {"image_size": 8, "classes": classes, "audit": "augmented"}
    pack = prepared(configured(root, "digits", data=data, duplicates="augmented", validation={"fraction": 0.2}))
    assert [row.path for row in pack.where(status="duplicate")] == ["train/0/copy.png"]
    assert len(pack.images) == len(kind.images)
    assert "only images that are equal, encoded again or mirrored are found" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize("size", [4, 8])
def test_a_small_pack_does_not_make_images_equal(root: Path, size: int) -> None:
    """At 4 x 4 pixels the photographs could not be told apart; a mirrored copy is still found."""
    images = {f"train/{'cat' if seed % 2 else 'dog'}/{seed}.png": encoded(photograph(seed, 64)) for seed in range(24)}
    files = images | {f"{split}/{name}/{split}.png": encoded(photograph(100 + at, 64)) for at, (split, name) in
                      enumerate((s, c) for s in ("validation", "test") for c in ("cat", "dog"))}  # fmt: skip
    write_tree(root / "small", files | {"train/cat/mirrored.png": encoded(photograph(7, 64)[:, ::-1].copy())})
    pack = prepared(configured(root, "small", data={"image_size": size, "audit": "augmented"}, duplicates="augmented"))
    assert pack.images.shape[1:] == (size, size, 1)
    assert [row.path for row in pack.where(status="duplicate")] == ["train/cat/mirrored.png"]
