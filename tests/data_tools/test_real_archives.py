"""The real archives, in the folder that CNN_TEST_DATA names, against the published counts."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from drawn import Pack
from hydra import compose, initialize_config_dir

from benchmarks.check_duplicates import check
from data_tools.prepare import prepare
from foundation.config import config_dir

FOLDER = os.environ.get("CNN_TEST_DATA", "")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER, reason="CNN_TEST_DATA names no folder with the real archives"),
]

CLASSES = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
FER_TRAIN = [3995, 436, 4097, 7215, 4965, 4830, 3171]
FER_BOTH_TESTS = [958, 111, 1024, 1774, 1233, 1247, 831]  # PublicTest and PrivateTest, as the Kaggle folders have them
FED_TRAIN = [3880, 2324, 3654, 6395, 5036, 4959, 3169]
FED_TEST = [971, 567, 911, 1599, 1259, 1240, 793]
EXACT = (
    "merge.duplicates=pixels",
    "data.audit=pixels",
)  # the search for other duplicates takes minutes on a whole archive


def real(pack_dir: Path, *overrides: str) -> Pack:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose("prepare", [*overrides, f"data.root={FOLDER}", f"data.pack_dir={pack_dir}"])
    return Pack(prepare(config))


def per_class(counts: Counter, *splits: str) -> list[int]:
    return [sum(counts[split, name] for split in splits) for name in CLASSES]


def test_fer2013(tmp_path: Path) -> None:
    pack = real(tmp_path, "data=fer2013", *EXACT)
    given = Counter((row.original_split, row.label) for row in pack.rows)
    assert per_class(given, "train") == FER_TRAIN
    assert per_class(given, "validation", "test") == FER_BOTH_TESTS
    kept = np.bincount(pack.splits)
    assert len(pack.rows) == 35_887
    assert kept[1:].tolist() == [3589, 3589]
    assert kept[0] < 28_709
    training = {pack.images[i].tobytes() for i in np.flatnonzero(pack.splits == 0)}
    assert len(training) == kept[0]
    assert not training & {pack.images[i].tobytes() for i in np.flatnonzero(pack.splits)}


def test_fed(tmp_path: Path) -> None:
    pack = real(tmp_path, "data=fed", *EXACT)
    given = Counter((row.original_split, row.label) for row in pack.rows)
    assert per_class(given, "train") == FED_TRAIN
    assert per_class(given, "test") == FED_TEST
    assert len(pack.rows) == 36_757
    assert not pack.where(status="set_aside")


def test_sample(tmp_path: Path) -> None:
    pack = real(tmp_path, "data=fer2013", "+data.sources.fer2013.stem=fer2013_sample")
    assert len(pack.rows) == 1797
    assert {row.original_split for row in pack.rows} == {"train", "validation", "test"}
    audit = pack.json_beside("audit.json")
    assert (audit["levels"]["pixels"]["redundant"], audit["input"]["blank"]) == (4, 1)
    assert audit["levels"]["augmented"]["redundant"] > 20
    assert audit["twins"]["after"] == {"validation": 0, "test": 0}
    _, duplicates = check(pack.folder, 0, 0, False)
    assert duplicates == []
