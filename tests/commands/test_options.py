"""Options of the command line and of YAML files: wrong ones fail before any work, and text stays text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

import cnn.train
from cnn.assembly import GROUPS
from commands.small import QUICK, write_faces
from data_tools.config import load
from foundation.command_line import prepared
from foundation.config import config_dir
from foundation.text_yaml import read_with

WRONG = {
    "cnn.train": [
        ("trainer.epochs=ten", "trainer.epochs must be a whole number, not 'ten'"),
        ("trainer.epochs=2.5", "trainer.epochs must be a whole number, not 2.5"),
        ("trainer.pixels=raw", "trainer.pixels is 'raw'; choose unit or standardize"),
        ("trainer.class_weights=balance", "trainer.class_weights is 'balance'"),
        ("trainer.label_smoothing=1", "trainer.label_smoothing"),
        ("trainer.clip_norm=0", "trainer.clip_norm"),
        ("trainer.early_stopping=soon", "trainer.early_stopping must be a whole number or null, not 'soon'"),
        ("data.image_size=big", "data.image_size must be a whole number or null, not 'big'"),
        ("data.classes=angry", "data.classes must be a list"),
        ("data.label_map=[happy]", "data.label_map: must be a mapping"),
        (
            "data.sources.fer2013.split_from_name=maybe",
            "data.sources.fer2013.split_from_name must be true, false or auto",
        ),
        ("merge.weights={fer2013: heavy}", "merge.weights.fer2013 must be a number, not 'heavy'"),
        ("merge.balance.target=all", "merge.balance.target must be a whole number or null, not 'all'"),
        ("merge.twins.detail=high", "merge.twins.detail must be a number, not 'high'"),
        ("augment.flip=perhaps", "augment.flip must be true or false, not 'perhaps'"),
        ("augment.erase_area=[0.1,wide]", "augment.erase_area[1] must be a number, not 'wide'"),
        ("optimizer.learning_rate=fast", "optimizer.learning_rate must be a number, not 'fast'"),
        ("optimizer.name=adamm", "optimizer.name is 'adamm'"),
        ("schedule.warmup=long", "schedule.warmup must be a number, not 'long'"),
        ("schedule.name=cosin", "schedule.name is 'cosin'"),
        ("backend.graph=2", "backend.graph must be true or false, not 2"),
        ("baselines.logistic_regression_up_to=many", "baselines.logistic_regression_up_to must be a whole number"),
        ("seed=x", "seed must be a whole number, not 'x'"),
        ("seed=-1", "seed must be a whole number of at least 0"),
        ("+sead=1", "there is no option 'sead'; did you mean 'seed'?"),
        ("model.init=zeros", "there is no init 'zeros'"),
        ("model.widths=[8,wide]", "'wide'"),
    ],
    "data_tools.prepare": [("data.channels=RGB", "data.channels must be a whole number or null, not 'RGB'")],
    "data_tools.audit": [("merge.blank=[all]", "merge.blank: must be one of keep, train, all")],
    "data_tools.download": [("data.workers=all", "data.workers must be a whole number or null, not 'all'")],
    "cnn.evaluate": [("batch_size=few", "batch_size must be a whole number, not 'few'")],
    "cnn.predict": [("backend.threads=all", "backend.threads must be a whole number or null, not 'all'")],
    "cnn.summary": [("data.image_size=[4]", "data.image_size must be a whole number or null, not [4]")],
    "cnn.benchmark": [("benchmark.steps=some", "benchmark.steps must be a whole number, not 'some'")],
}


@pytest.mark.parametrize(("module", "argument", "words"), [(m, *case) for m, cases in WRONG.items() for case in cases])
def test_a_wrong_value_fails_before_any_work(command, tmp_path, monkeypatch, module, argument, words):
    def never(*_):
        raise AssertionError("the preparation has begun")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cnn.train, "load_pack", never)
    monkeypatch.setattr("data_tools.prepare.collect_and_merge", never)
    monkeypatch.setattr("data_tools.audit.collect_and_merge", never)
    write_faces(tmp_path / "data" / "fer2013", {"train": 1}, 6)
    data = ("data=fer2013",) if module in ("cnn.train", "data_tools.prepare", "data_tools.audit") else ()
    named = {"cnn.evaluate": ("run=nowhere",), "cnn.predict": ("run=nowhere", "images=nothing")}.get(module, ())
    assert words in command(module, *data, *named, argument).error


@pytest.mark.parametrize(
    ("argument", "meant"),
    [
        ("trainer.epoch=3", "trainer.epochs"),
        ("++trainer.epoch=3", "trainer.epochs"),
        ("epochs=3", "trainer.epochs"),
        ("learning_rate=0.1", "optimizer.learning_rate"),
        ("optimiser=sgd", "optimizer"),
        ("optimizer.leaning_rate=1", "optimizer.learning_rate"),
        ("data.labelmap={a: happy}", "data.label_map"),
        ("merge.balance.traget=3", "merge.balance.target"),
        ("+merge.balance.traget=3", "merge.balance.target"),
        ("model=vgg_samll", "vgg_small"),
        ("data=toyfaces", "toy_faces"),
        ("data.sources.toy_studio.sead=1", "seed"),
        ("data.sources.toy_studio.kind=toyfaces", "toy_faces"),
    ],
)
def test_a_misspelt_option_or_name_is_met_with_the_right_one(command, tmp_path, monkeypatch, argument, meant):
    monkeypatch.chdir(tmp_path)
    assert f"did you mean '{meant}'?" in command("cnn.train", argument).error
    assert not (tmp_path / "packs").exists()


def test_an_option_of_another_model_is_said_to_be_one(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "the chosen model has no option 'depth'" in command("cnn.summary", "model=lenet", "model.depth=3").error


# --- Text ------------------------------------------------------------------------------------------------------------

NAMES = (
    "001", "010", "1", "1.50", "1e3", "-5", "0x1F", "1_000", "1:30", ".5", "inf", "nan", "yes", "no", "on", "true",
    "True",
    "FALSE", "null", "None", "2024-01-01", "São Paulo", "it's", 'say "a"', "a=b", "a+b", "a/b", "a\\b", "a\\",
    "$a", "@x",
    "#1", "100 %", "~", "* all", "x: y", "(old)", "choice(a)", "日本",
)  # fmt: skip
PATHS = (
    *NAMES, "", "/a b/c", "a,b", "[a]", "{a}", "[a", "a]b", "a'b\"c", "~/x", "../x", "C:\\data\\", "a b=c,d[e]{f}",
)  # fmt: skip


def read(argument: str, replaced: tuple[str, ...] = ()):
    """The value that Hydra's own parser reads of an argument."""
    *_, line = prepared([argument], GROUPS, replaced)
    return OverridesParser.create().parse_override(line).value()


@pytest.mark.parametrize("path", PATHS)
def test_a_path_may_be_written_as_it_is(path):
    for key in ("data.root", "data.pack_dir", "hydra.run.dir"):
        if (key, path) != ("data.root", "null"):  # null is a value of data.root, and a folder of this name has quotes
            assert read(f"{key}={path}") == path


@pytest.mark.parametrize("path", ["a b", "a,b", "it\\'s", 'x"y', "null"])
def test_a_path_in_quotes_of_hydras_own_still_works(path):
    assert read(f"data.root='{path}'") == path.replace("\\'", "'")


@pytest.mark.parametrize("name", NAMES)
def test_a_class_name_in_a_list_or_a_mapping_stays_text(name):
    shown = json.dumps(name) if set(name) & set(":'\"") else name
    shown = shown.replace("\\\\", "\\") if "\\" in name else shown
    assert read(f"data.classes=[{shown}, cat]") == [name, "cat"]
    found = read(f"data.label_map={{dog: {shown}}}")
    assert found == {"dog": name}
    found = read(f"data.label_map={{{shown}: cat, b: c}}")
    pairs = [[str(key), value] for key, value in found.items()] if isinstance(found, dict) else found
    assert pairs == [[name, "cat"], ["b", "c"]]


@pytest.mark.parametrize(
    "option", ["data.classes=[a", "data.label_map={a: b", "data.label_map={a}", "data.label_map=a"]
)
def test_a_bracket_that_does_not_close_is_named_with_the_quoting_that_works(command, tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    error = command("data_tools.prepare", option).error
    assert option.partition("=")[0] in error
    assert "quotes" in error


def composed(*arguments: str):
    """Both groups, from the command line that `data_tools.prepare` gets."""
    read_with(GROUPS)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return load(compose("prepare", prepared(arguments, GROUPS, ("data.sources",))))


def test_mappings_are_given_as_the_comments_show_them():
    data, merge = composed(
        "data=fer2013_fed",
        "data.label_map={contentment: happy, 1e3: sad, joy: happy}",
        "merge.class_maps={fed: {contempt: disgust, 1: angry, null: sad}}",
        "merge.weights={fed: 0.5}",
        "merge.split_map={validation: test}",
        "merge.balance={target: 70}",
        "data.sources.fed.stem=1e3",
    )
    assert data.label_map == {"contentment": "happy", "1e3": "sad", "joy": "happy"}
    assert merge.class_maps == {"fed": {"contempt": "disgust", "1": "angry", "null": "sad"}}
    assert merge.weights == {"fed": 0.5}
    assert merge.split_map == {"train": "train", "validation": "test", "test": "test"}
    assert merge.balance.target == 70
    assert data.sources["fed"] == {"kind": "files", "stem": "1e3"}
    data, _ = composed("data=fer2013", "data.label_map.contentment=happy", "data.label_map.bliss=happy")
    assert data.label_map == {"contentment": "happy", "bliss": "happy"}


def test_given_sources_take_the_place_of_the_configs_own():
    sources = "data.sources={pets: {kind: listed, table: 010, columns: {path: 1, label: yes}}, b: {kind: files}}"
    data, _ = composed("data=fer2013", sources)
    assert data.sources == {
        "pets": {"kind": "listed", "table": "010", "columns": {"path": 1, "label": "yes"}}, "b": {"kind": "files"}
    }  # fmt: skip
    assert list(data.sources) == ["pets", "b"]


def test_class_names_and_paths_of_a_yaml_file_stay_text(command, tmp_path, monkeypatch):
    """From the file to the pack: `010` is no 8, and `no` is no boolean."""
    monkeypatch.chdir(tmp_path)
    classes = ["001", "010", "no", "1e3", "null", "2024-01-01"]
    for number, name in enumerate(classes):
        for split in ("train", "validation", "test"):
            folder = tmp_path / "1e1" / "2024" / split / name
            folder.mkdir(parents=True)
            Image.new("L", (12, 12), 20 * number).save(folder / "0.png")
    (tmp_path / "own/data").mkdir(parents=True)
    (tmp_path / "own/data/mine.yaml").write_text(
        "name: 2024\nroot: 1e1\npack_dir: packs\nimage_size: 12\nchannels: 1\n"
        "classes: [001, 010, no, 1e3, null, 2024-01-01]\nlabel_map: {1: 001, yes: no}\naudit: bytes\nworkers: null\n"
        "sources:\n  2024: {kind: files, split_from_name: no}\n"
    )
    outcome = command(
        "data_tools.prepare", "--config-dir", "own", "data=mine", "merge.duplicates=none", "merge.blank=keep"
    )
    assert outcome.status == 0, outcome.err
    (pack,) = (path for path in Path("packs").iterdir() if not path.name.startswith("."))
    description = json.loads((pack / "pack.json").read_text())
    assert description["classes"] == classes
    assert description["options"]["data"]["label_map"] == {"1": "001", "yes": "no"}
    assert description["images"] == 3 * len(classes)


def test_a_folder_with_a_difficult_name_is_read(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = 'it\'s a=b, [1] {é} "2"'
    write_faces(tmp_path / place / "fer2013", {"train": 1, "validation": 1, "test": 1}, 6)
    options = ("data=fer2013", "data.image_size=6", "data.audit=bytes", "merge.duplicates=bytes")
    outcome = command("data_tools.prepare", *options, f"data.root={place}", "data.pack_dir=1e3")
    assert outcome.status == 0, outcome.err
    assert list(Path("1e3").glob("fer2013-*/pack.json"))


# --- The command -----------------------------------------------------------------------------------------------------


def test_paths_count_from_the_start_of_the_command_also_if_hydra_changes_the_folder(command, workplace):
    outcome = command("cnn.train", *QUICK, "trainer.epochs=1", "hydra.job.chdir=true", "hydra.run.dir=out")
    assert outcome.status == 0, outcome.err
    assert list((workplace / "packs").glob("*/pack.json"))
    assert (workplace / "out/metrics.json").is_file()
    assert "report               out/report.html" in outcome.out
    assert not list((workplace / "out").glob("packs*"))
    again = command("cnn.evaluate", "run=out", "hydra.job.chdir=true")
    assert again.status == 0, again.err


@pytest.mark.parametrize(
    ("module", "arguments", "files"),
    [
        ("cnn.train", [], ["config", "merge/default", "data/toy_faces", "data/fer2013", "trainer/default"]),
        ("cnn.train", ["model=vgg_small", "merge=official"], ["model/vgg_small", "merge/official", "merge/default"]),
        ("cnn.evaluate", [], ["evaluate", "backend/auto"]),
        ("cnn.compare", [], ["compare", "backend/auto"]),
        ("cnn.lr_find", ["optimizer=sgd"], ["lr_find", "optimizer/sgd"]),
        ("data_tools.prepare", ["data=ferplus"], ["data/ferplus"]),
    ],
)  # fmt: skip
def test_help_shows_the_comments_of_the_yaml_files(command, tmp_path, monkeypatch, module, arguments, files):
    monkeypatch.chdir(tmp_path)
    outcome = command(module, *arguments, "--help")
    assert outcome.status == 0
    printed = {line.strip() for line in outcome.out.splitlines()}
    for name in files:
        text = (config_dir() / f"{name}.yaml").read_text()
        own = text[: text.index("\nhydra:")] if "\nhydra:" in text else text
        comments = [line.strip() for line in own.splitlines() if "#" in line and not line.startswith("  - ")]
        assert comments
        assert set(comments) <= printed, name
    assert not list(tmp_path.iterdir())
