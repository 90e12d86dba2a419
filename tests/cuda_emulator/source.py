"""From a kernel file's text to a translation unit for g++."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cuda_emulator.build_cache import fingerprint
from cuda_emulator.shared_rewrite import rewrite_shared
from cuda_emulator.toolchain import INCLUDE

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"](?P<name>[^>"\n]+)[>"]', re.MULTILINE)
_COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|(?P<kept>"(?:\\.|[^"\\\n])*")', re.DOTALL)
_ATTRIBUTE = r"__\w+__(?:\s*\((?:[^()]|\([^()]*\))*\))?"  # such as __launch_bounds__(64 * (N + 1))
_KERNEL = re.compile(rf"__global__\s+(?:(?:void|static|inline|{_ATTRIBUTE})\s+)+(?P<name>[A-Za-z_]\w*)\s*\(")
_TEMPLATE_BEFORE = re.compile(r"template\s*<[^;{}]*>\s*(?:\w+\s+)*$")


@dataclass(frozen=True)
class TranslationUnit:
    """What g++ is given: files by relative path, its main file, options; and a key for the cache."""

    files: dict[str, str]
    main: str
    options: tuple[str, ...]
    key: str
    parameter_names: dict[str, tuple[str, ...]]  # by the kernel's name without template arguments
    kernels: tuple[str, ...]  # name expressions; the n-th is exported with number n


def translation_unit(code: str, options: Sequence[str], name_expressions: Iterable[str]) -> TranslationUnit:
    """The translation unit of a `.cu` text with CuPy's options `-I` and `-D`; others mean nothing here."""
    folders = [Path(option[2:]).resolve() for option in options if option.startswith("-I")]
    name = _file_of(code, folders)
    headers = _reachable_headers(code, [INCLUDE / "ptx", *folders])  # what stands for a header of PTX comes first
    texts = "\n".join([code, *headers.values()])
    macros = [option for option in options if option.startswith("-D") and _macro_name(option) in texts]
    kernels = tuple(dict.fromkeys(name_expressions)) or plain_kernels(code)
    exports = "".join(f"CUDA_EMULATOR_EXPORT({number}, {kernel})\n" for number, kernel in enumerate(kernels))
    files = {
        f"headers/{relative}": f'#line 1 "{path}"\n{rewrite_shared(text, path.name)}'
        for (relative, path), text in headers.items()
    }
    files["kernel.cpp"] = (
        f'#include "prelude.h"\n#line 1 "{name}"\n{rewrite_shared(code, Path(name).name)}\n#line 1 "exports"\n{exports}'
    )
    own = [f"-I{folder}" for folder in folders]
    return TranslationUnit(
        files=files,
        main="kernel.cpp",
        options=("-Iheaders", *own, *macros),
        key=fingerprint(*(part for file in sorted(files.items()) for part in file), *macros),
        parameter_names=_parameter_names(texts),
        kernels=kernels,
    )


def plain_kernels(code: str) -> tuple[str, ...]:
    """The names of the text's own kernels that are no templates."""
    text = _without_comments(code)
    return tuple(
        match["name"] for match in _KERNEL.finditer(text) if not _TEMPLATE_BEFORE.search(text[: match.start()])
    )


def _file_of(code: str, folders: Sequence[Path]) -> str:
    """The `.cu` file that the text was read from, if it lies in one of the folders: CuPy is not told."""
    for folder in folders:
        for path in sorted(folder.glob("*.cu")):
            if path.stat().st_size == len(code.encode()) and path.read_text(encoding="utf-8") == code:
                return str(path)
    return "kernel.cu"


def _reachable_headers(code: str, folders: Sequence[Path]) -> dict[tuple[str, Path], str]:
    """The project's headers that the text includes, directly or not, by their name in `#include` and their path."""
    found: dict[tuple[str, Path], str] = {}
    waiting = [code]
    while waiting:
        for match in _INCLUDE.finditer(waiting.pop()):
            name = match["name"]
            path = next((folder / name for folder in folders if (folder / name).is_file()), None)
            if path and (name, path) not in found and ".." not in Path(name).parts:
                found[name, path] = path.read_text(encoding="utf-8")
                waiting.append(found[name, path])
    return found


def _macro_name(option: str) -> str:
    return option[2:].partition("=")[0]


@functools.lru_cache(maxsize=64)
def _without_comments(text: str) -> str:
    return _COMMENT.sub(lambda match: match["kept"] or " ", text)


def _parameter_names(texts: str) -> dict[str, tuple[str, ...]]:
    """The parameters' names of every kernel, for messages."""
    text = _without_comments(texts)
    names = {}
    for match in _KERNEL.finditer(text):
        parameters, depth, end = [""], 1, match.end()
        while depth and end < len(text):
            character = text[end]
            depth += (character in "(<[{") - (character in ")>]}")
            if character == "," and depth == 1:
                parameters.append("")
            elif depth:
                parameters[-1] += character
            end += 1
        words = [re.findall(r"\w+", parameter) for parameter in parameters]
        names[match["name"]] = tuple(word[-1] for word in words if word)
    return names
