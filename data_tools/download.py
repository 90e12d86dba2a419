"""`python -m data_tools.download data=fer2013_fed`: fetch from Kaggle what is missing below `data.root`."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from data_tools.config import GROUPS, DataOptions
from data_tools.sources.find import locate
from foundation.config import typed
from foundation.entry import entry
from foundation.errors import UserError
from foundation.extras import install_command
from foundation.files import atomic_folder


class DownloadError(Exception):
    """Why a download from Kaggle failed, in a few words."""


def download(root: Path, handles: Mapping[str, str]) -> None:
    """Fetch every data set of `handles` (name below `root` -> Kaggle's owner/name) that is missing.

    A data set becomes a folder below `root`; an incomplete one is removed. Raises `DownloadError`; data sets that
    were fetched before it stay.
    """
    wanted = missing(root, handles)
    for name in handles:
        if name in wanted:
            with atomic_folder(root / name) as temporary:
                fetch(handles[name], temporary)
        print(f"{name}: {locate(name, str(root), name)}{'' if name in wanted else ' is there'}")


def missing(root: Path, handles: Mapping[str, str]) -> dict[str, str]:
    """The part of `handles` that has no folder, archive or table below `root`."""
    left = {}
    for name, handle in handles.items():
        try:
            locate(name, str(root), name)
        except UserError:
            left[name] = handle
    return left


def fetch(handle: str, folder: Path) -> None:
    """Download and unpack Kaggle's data set `handle` into `folder`, which is empty. Raises `DownloadError`."""
    os.environ.setdefault("KAGGLEHUB_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        import kagglehub  # noqa: PLC0415 - an extra, and slow to import
        import requests  # noqa: PLC0415 - a dependency of kagglehub
        from kagglehub.exceptions import DataCorruptionError  # noqa: PLC0415
    except ImportError as error:
        raise DownloadError(f"kagglehub is not installed ({install_command('download')})") from error
    try:
        kagglehub.dataset_download(handle, output_dir=str(folder))
    except requests.RequestException as error:
        status = error.response.status_code if error.response is not None else None
        raise DownloadError(_answer(status)) from error
    except (DataCorruptionError, zipfile.BadZipFile) as error:
        raise DownloadError("the download from Kaggle is damaged") from error
    except ValueError as error:  # unreadable credentials, or not an archive
        raise DownloadError(f"Kaggle's client says: {error}") from error
    shutil.rmtree(folder / ".complete", ignore_errors=True)  # written by the client
    if not any(folder.iterdir()):
        raise DownloadError("the download from Kaggle is empty")


def _answer(status: int | None) -> str:
    if status is None:
        return "Kaggle cannot be reached, or the connection broke"
    if status in (401, 403):
        return "Kaggle needs credentials (environment variable KAGGLE_API_TOKEN, or ~/.kaggle/kaggle.json)"
    return f"Kaggle answers with status {status}"


def by_hand(reason: str, root: Path, handles: Mapping[str, str]) -> str:
    """Three lines: the reason, what to download by hand, and where to save it."""
    pages = " and ".join(f"https://www.kaggle.com/datasets/{handle}" for handle in handles.values())
    places = " and ".join(str(root / f"{name}.zip") for name in handles)
    return (
        f"not downloaded: {' '.join(reason.split())}\n"
        f"download by hand: {pages} (in a browser, signed in)\n"
        f"save as, without unpacking: {places}"
    )


@entry("download", GROUPS)
def main(config: DictConfig) -> None:
    """Download what is missing, or print how to do it by hand and exit with status 2."""
    data = typed(config, "data", DataOptions)
    if not data.downloads:
        print(f"data={data.name or 'folder'} needs no download")
        return
    root = Path(data.root or ".").expanduser()
    try:
        download(root, data.downloads)
    except DownloadError as error:
        print(by_hand(str(error), root, missing(root, data.downloads)), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
