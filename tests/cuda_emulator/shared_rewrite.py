"""Rewrites `__shared__` declarations: the one thing in a kernel's text that g++ cannot be given by macros.

`__shared__ float tile[4][8];` becomes `CUDA_EMULATOR_SHARED(tile, float shared_type_tile[4][8]);`, which asks the
runtime for the block's memory; `extern __shared__ float tile[];` becomes a pointer to the dynamic shared memory. Line
numbers stay as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cuda_emulator.errors import EmulatorError

_TOKEN = re.compile(
    r"""
      (?P<directive>^[ \t]*\#(?:\\\r?\n|//[^\n]*|/\*.*?\*/|[^\n])*)
    | (?P<space>\s+|\\\n|//[^\n]*|/\*.*?\*/)
    | (?P<string>(?:u8|[uUL])?"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    | (?P<word>[A-Za-z_]\w*)
    | (?P<number>\.?\d(?:[\w.']|[eEpP][+-])*)
    | (?P<mark>::|->|<<|>>|.)
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_MACRO = re.compile(r"[ \t]*#[ \t]*define\s+\w+(?:\([^)]*\))?")
_OPENING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    begin: int
    end: int


def rewrite_shared(text: str, name: str = "kernel.cu") -> str:
    """The text with its `__shared__` declarations rewritten; `name` is the file's, for messages."""
    return _rewrite(text, name, depth=0) if "__shared__" in text else text


def _rewrite(text: str, name: str, depth: int) -> str:
    tokens = [
        _Token(str(match.lastgroup), match.group(), match.start(), match.end())
        for match in _TOKEN.finditer(text)
        if match.lastgroup != "space"
    ]
    result, copied = [], 0
    index = statement = 0  # the token at hand, and the first one of its statement
    while index < len(tokens):
        token = tokens[index]
        if token.text == "__shared__":
            declaration = _Declaration(text, tokens, statement, index, name)
            if depth == 0:
                raise declaration.error("declare shared memory inside the kernel that uses it")
            result += [text[copied : declaration.begin], declaration.rewritten()]
            copied, index = declaration.end, declaration.next_index
            statement = index
            continue
        macro = _MACRO.match(token.text) if token.kind == "directive" and "__shared__" in token.text else None
        if macro:
            body = _rewrite(token.text[macro.end() :], name, depth=1)
            result += [text[copied : token.begin], macro.group(), body]
            copied = token.end
        depth += (token.text == "{") - (token.text == "}")
        index += 1
        if token.text in (";", "{", "}") or token.kind == "directive":
            statement = index
    return "".join([*result, text[copied:]])


class _Declaration:
    """One declaration statement with `__shared__` in it, from its first word to its semicolon."""

    def __init__(self, text: str, tokens: list[_Token], start: int, keyword: int, name: str) -> None:
        self._text, self._tokens, self._name = text, tokens, name
        self.begin = tokens[start].begin
        end = self._semicolon(keyword)
        self.end, self.next_index = tokens[end].end, end + 1
        body = [token for token in tokens[start:end] if token.text not in ("__shared__", "static")]
        self._dynamic = any(token.text == "extern" for token in body)
        self._body, self._alignment = self._take_alignment([token for token in body if token.text != "extern"])

    def error(self, message: str) -> EmulatorError:
        line = self._text.count("\n", 0, self.begin) + 1
        statement = " ".join(self._text[self.begin : self.end].split())
        return EmulatorError(f"{self._name}:{line}: {message}: {statement}")

    def rewritten(self) -> str:
        """The replacement, on as many lines as the original."""
        declarators = self._declarators()
        if self._dynamic:
            calls = [self._dynamic_call(*declarator) for declarator in declarators]
        else:
            calls = [self._static_call(*declarator) for declarator in declarators]
        lines = "\\\n" if "\\\n" in self._text[self.begin : self.end] else "\n"
        return " ".join(f"{call};" for call in calls) + lines * self._text.count("\n", self.begin, self.end)

    def _semicolon(self, index: int) -> int:
        closing: list[str] = []
        while index < len(self._tokens):
            text = self._tokens[index].text
            if text in _OPENING:
                closing.append(_OPENING[text])
            elif closing and text == closing[-1]:
                closing.pop()
            elif text == ";" and not closing:
                return index
            elif text == "=" and not closing:
                self.end = self._tokens[index].end
                raise self.error("CUDA does not initialise shared memory")
            index += 1
        self.end = len(self._text)
        raise self.error("the declaration does not end")

    def _take_alignment(self, body: list[_Token]) -> tuple[list[_Token], str]:
        """The tokens without `alignas(n)` and `__align__(n)`, and the n of these."""
        rest, alignment, index = [], "", 0
        while index < len(body):
            if body[index].text not in ("alignas", "__align__"):
                rest.append(body[index])
                index += 1
                continue
            last = self._matching(body, index + 1)
            alignment = self._text[body[index + 1].end : body[last].begin]
            index = last + 1
        return rest, alignment

    def _matching(self, body: list[_Token], opening: int) -> int:
        depth = 0
        for index in range(opening, len(body)):
            depth += (body[index].text in _OPENING) - (body[index].text in _OPENING.values())
            if not depth:
                return index
        raise self.error("a bracket is not closed")

    def _declarators(self) -> list[tuple[str, str, str, str]]:
        """For each variable: specifiers, pointer marks, name, array sizes."""
        parts: list[list[_Token]] = [[]]
        brackets = angles = 0
        for token in self._body:
            brackets += (token.text in _OPENING) - (token.text in _OPENING.values())
            if not brackets:  # a comparison may stand in brackets only
                angles += (token.text == "<") - (token.text == ">") - 2 * (token.text == ">>")
            if token.text == "," and not brackets and not angles:
                parts.append([])
            else:
                parts[-1].append(token)
        specifiers, declarators = "", []
        for number, part in enumerate(parts):
            sizes = len(part)
            while sizes and part[sizes - 1].text == "]":
                depth = 0
                while True:
                    sizes -= 1
                    depth += (part[sizes].text == "]") - (part[sizes].text == "[")
                    if not depth:
                        break
            if not sizes or part[sizes - 1].kind != "word":
                raise self.error("cannot read this declaration of shared memory")
            variable = part[sizes - 1]
            marks = sizes - 1
            while marks and part[marks - 1].text in ("*", "const", "__restrict__"):
                marks -= 1
            if number == 0:
                specifiers = self._source(part[:marks])
            pointers = self._source(part[marks : sizes - 1])
            declarators.append((specifiers, pointers, variable.text, self._source(part[sizes:])))
        return declarators

    def _source(self, tokens: list[_Token]) -> str:
        """The text from the first token to the last, without comments (they could swallow what follows)."""
        pieces: list[str] = []
        for before, token in zip([None, *tokens], tokens, strict=False):
            pieces += [" " if before and before.end < token.begin else "", token.text]
        return "".join(pieces)

    def _static_call(self, specifiers: str, pointers: str, variable: str, sizes: str) -> str:
        aligned = f" __attribute__((aligned({self._alignment})))" if self._alignment else ""
        declaration = f"{specifiers} {pointers}shared_type_{variable}{sizes}{aligned}"
        return f"CUDA_EMULATOR_SHARED({variable}, {declaration})"

    def _dynamic_call(self, specifiers: str, pointers: str, variable: str, sizes: str) -> str:
        if not re.match(r"\[\s*\]", sizes):
            raise self.error("extern __shared__ must be an array of unknown size")
        rest = sizes[sizes.index("]") + 1 :]
        element = f"{specifiers} {pointers}".strip()
        if rest:
            raise self.error("extern __shared__ may have one dimension only here")
        alignment = self._alignment or f"alignof({element})"
        return f"CUDA_EMULATOR_DYNAMIC_SHARED({variable}, {alignment}, {element})"
