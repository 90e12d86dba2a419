"""Reads what the kernel files declare: structs, and the kernels' signatures."""

import re
from dataclasses import dataclass

from cnn.kernels import FOLDER

_GLOBAL = re.compile(
    r"__global__\s+(?:void\s+)?(?:__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)\s*)?(?:void\s+)?(?P<name>\w+)\s*\("
)
_MEMBERS = re.compile(r"(?P<type>(?:const )?(?:unsigned long long|long long|unsigned char|\w+)\s*\*?)\s*(?P<names>.+)")
_NOT_A_MEMBER = ("static ", "using ", "struct ", "template", "public", "private")


@dataclass(frozen=True)
class Member:
    name: str
    type: str
    count: int | None  # of an array


def text_without_comments(path) -> str:
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def kernel_files() -> list[str]:
    return sorted(path.name for path in FOLDER.glob("*.cu"))


def global_functions(source: str) -> dict[str, str]:
    """The parameter lists of a kernel file's `__global__` functions, by name."""
    text = text_without_comments(FOLDER / source)
    found = {}
    for match in _GLOBAL.finditer(text):
        found[match["name"]] = text[match.end() : text.index(")", match.end())]
    # A declaration that the pattern does not understand must not go unseen.
    assert len(found) == text.count("__global__"), source
    return found


def struct_file(name: str) -> str:
    """The one file that defines the struct."""
    definition = re.compile(rf"\bstruct {name}\s*{{")
    found = [
        path.name
        for path in sorted([*FOLDER.glob("*.cuh"), *FOLDER.glob("*.cu")])
        if definition.search(text_without_comments(path))
    ]
    assert len(found) == 1, f"struct {name} is defined in {found or 'no file'}"
    return found[0]


def struct_members(name: str) -> list[Member]:
    """The struct's fields in order, methods left out."""
    text = text_without_comments(FOLDER / struct_file(name))
    body = text[re.search(rf"\bstruct {name}\s*{{", text).end() :]
    members = []
    for statement in _statements(body):
        if "(" in statement or statement.startswith(_NOT_A_MEMBER):
            continue
        match = _MEMBERS.fullmatch(statement)
        assert match, f"cannot read '{statement}' of struct {name}"
        for declared in match["names"].split(","):
            field, _, length = declared.strip().rstrip("]").partition("[")
            count = _constant(length, text) if length else None
            members.append(Member(field, match["type"].replace(" ", ""), count))
    return members


def _statements(body: str) -> list[str]:
    """What a struct's body declares, up to its closing brace; a function with a body counts as one statement."""
    statements, current, depth = [], "", 0
    for letter in body:
        if letter == "}" and depth == 0:
            break
        if letter == "{":
            depth += 1
        elif letter == "}":
            depth -= 1
        elif depth == 0 and letter != ";":
            current += letter
        if depth == 0 and letter in ";}":
            statements.append(" ".join(current.split()))
            current = ""
    return [statement for statement in statements if statement]


def _constant(length: str, text: str) -> int:
    if length.isdigit():
        return int(length)
    match = re.search(rf"\b{length}\s*=\s*(\d+)\s*;|#define {length} (\d+)", text)
    assert match, f"what is {length}?"
    return int(match[1] or match[2])
