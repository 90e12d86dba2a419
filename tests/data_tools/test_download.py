"""Fetching from Kaggle: its own client against a server of the test's, and the three lines where it cannot be."""

import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from drawn import files_of
from omegaconf import OmegaConf

from data_tools.config import load, options
from data_tools.download import DownloadError, by_hand, download
from foundation.extras import install_command

kaggle_env = pytest.importorskip("kagglesdk.kaggle_env")  # comes with the extra `download`
HANDLES = {"fer2013": "somebody/faces", "fed": "somebody/more-faces"}
FILES = files_of({"train": 2, "test": 1})


class Kaggle(ThreadingHTTPServer):
    """Answers the client's two questions: which version there is, and the archive."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.status = 200
        self.body = self.archive()
        self.cut = 0  # bytes that never come
        self.asked: list[str] = []

    def archive(self) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in FILES.items():
                archive.writestr(name, data)
        return file.getvalue()


class Answer(BaseHTTPRequestHandler):
    server: Kaggle

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = self.path.rpartition("/")[2]
        self.server.asked.append(f"{question} {asked['ownerSlug']}/{asked['datasetSlug']}")
        if self.server.status != 200:
            self.send_error(self.server.status)
        elif question == "GetDataset":
            self.reply(b'{"currentVersionNumber": 3}', "application/json")
        else:
            self.reply(self.server.body, "application/zip", self.server.cut)

    def reply(self, body: bytes, kind: str, cut: int = 0) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) - cut])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kaggle]:
    server = Kaggle()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, address)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "no credentials"))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setenv("NO_PROXY", "*")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_missing_arrives_as_a_folder(kaggle: Kaggle, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "fer2013.zip").write_bytes(b"mine")
    download(root, HANDLES)
    assert kaggle.asked == ["GetDataset somebody/more-faces", "DownloadDataset somebody/more-faces"]
    assert (root / "fer2013.zip").read_bytes() == b"mine"
    arrived = {str(path.relative_to(root / "fed")): path.read_bytes() for path in (root / "fed").rglob("*.*")}
    assert arrived == FILES
    assert sorted(path.name for path in root.iterdir()) == ["fed", "fer2013.zip"]
    assert capsys.readouterr().out.splitlines() == [
        f"fer2013: {root / 'fer2013.zip'} is there",
        f"fed: {root / 'fed'}",
    ]


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "Kaggle needs credentials"), (403, "Kaggle needs credentials"), (404, "status 404"), (500, "status 500")],
)
def test_an_answer_that_is_no_data_set(kaggle: Kaggle, root: Path, status: int, reason: str) -> None:
    kaggle.status = status
    with pytest.raises(DownloadError, match=reason):
        download(root, HANDLES)
    assert not list(root.iterdir())


@pytest.mark.parametrize("damage", ["cut off", "half a file", "noise", "empty", "no archive members"])
def test_a_download_is_whole_or_absent(kaggle: Kaggle, root: Path, damage: str) -> None:
    nothing = io.BytesIO()
    zipfile.ZipFile(nothing, "w").close()
    if damage == "cut off":
        kaggle.cut = 100
    else:
        half = kaggle.body[: len(kaggle.body) // 2]
        bodies = {"half a file": half, "noise": b"?" * 999, "empty": b"", "no archive members": nothing.getvalue()}
        kaggle.body = bodies[damage]
    with pytest.raises(DownloadError):
        download(root, HANDLES)
    assert not list(root.iterdir())


def test_the_first_stays_when_the_second_fails(kaggle: Kaggle, root: Path) -> None:
    download(root, {"fer2013": HANDLES["fer2013"]})
    kaggle.status = 500
    with pytest.raises(DownloadError):
        download(root, HANDLES)
    assert [path.name for path in root.iterdir()] == ["fer2013"]


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "data_tools.download", *arguments]
    variables = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), **environment}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("cause", ["no network", "no client"])
def test_three_lines_say_what_to_do_by_hand(tmp_path: Path, cause: str) -> None:
    variables = {
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "",
        "KAGGLE_CONFIG_DIR": str(tmp_path),
    }  # a port that discards
    if cause == "no client":
        (tmp_path / "without/kagglehub").mkdir(parents=True)
        (tmp_path / "without/kagglehub/__init__.py").write_text("raise ImportError")
        variables["PYTHONPATH"] = f"{tmp_path / 'without'}{os.pathsep}{Path(__file__).parents[2]}"
    done = run(tmp_path, "data=fer2013_fed", **variables)
    assert done.returncode == 2
    assert done.stdout == ""
    reason, what, where = done.stderr.splitlines()
    expected = "Kaggle cannot be reached" if cause == "no network" else install_command("download")
    assert expected in reason
    assert "https://www.kaggle.com/datasets/msambare/fer2013 and " in what
    assert "https://www.kaggle.com/datasets/dilkushsingh/facial-emotion-dataset" in what
    assert where == "save as, without unpacking: data/fer2013.zip and data/fed.zip"
    assert not list((tmp_path / "data").rglob("*"))


def test_only_what_is_missing_is_named(tmp_path: Path) -> None:
    text = by_hand("no\nnetwork", tmp_path, {"fed": "a/b"})
    assert text.splitlines() == [
        "not downloaded: no network",
        "download by hand: https://www.kaggle.com/datasets/a/b (in a browser, signed in)",
        f"save as, without unpacking: {tmp_path}/fed.zip",
    ]


def test_nothing_to_download(tmp_path: Path) -> None:
    done = run(tmp_path, "data=toy_faces")
    assert (done.returncode, done.stdout) == (0, "data=toy_faces needs no download\n")


def test_where_data_comes_from_changes_no_pack() -> None:
    data = {"name": "x", "classes": ["a"], "sources": {"s": {}}}
    chosen = [
        options(*load(OmegaConf.create({"data": data | more, "merge": {}}))) for more in ({}, {"downloads": HANDLES})
    ]
    assert chosen[0] == chosen[1]
