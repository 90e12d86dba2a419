"""Reads the few pickles of CIFAR's Python batches without unpickling: no class is looked up, nothing is called.

A pickle is a program for a stack machine. This reader knows the instructions that such a batch needs, which only put
bytes, text, numbers, lists and mappings on the stack. The two calls that every NumPy array in a pickle has are
recognised by name and become the array's bytes; any other call is refused.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

LARGEST = 2**28  # bytes of a file: a batch of CIFAR has 31 MB, CIFAR-100's training file 155 MB

DEEPEST = 4  # levels of mappings and lists

_MARK = object()
_PUSHED = {  # instructions whose argument is the value
    *("BININT", "BININT1", "BININT2", "INT", "LONG1", "BINSTRING", "SHORT_BINSTRING", "STRING", "BINBYTES"),
    *("SHORT_BINBYTES", "BINUNICODE", "SHORT_BINUNICODE", "UNICODE"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_ARRAY = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_TYPE, _CLASS = "numpy dtype", "numpy ndarray"
_ENCODE = "_codecs encode"  # how Python 3 writes bytes in an old protocol


class PickleError(Exception):
    """The pickle is damaged, or is not of the kind that is read here; the message is a few words."""


class _Named:
    """A name that the pickle asks for, which is never looked up."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Array:
    """An array whose bytes have not come yet, or the type of one."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.value: np.ndarray | None = None


def read_pickle(data: bytes) -> Any:
    """The value in a pickle: mappings, lists, numbers, text, bytes, and uint8 arrays. Raises `PickleError`.

    Text of Python 2 is returned as bytes.
    """
    if len(data) > LARGEST:
        raise PickleError(f"larger than {LARGEST >> 20} MiB")
    machine = _Machine()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of escapes in text that a stranger wrote
            for code, argument, _ in pickletools.genops(data):
                machine.do(code.name, argument)
    except PickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise PickleError("damaged or incomplete") from error
    if len(machine.stack) != 1:
        raise PickleError("damaged or incomplete")
    return _finished(machine.stack[0])


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def do(self, name: str, argument: Any) -> None:
        """One instruction. Raises `PickleError` for one that is not known here."""
        if name in _PUSHED:
            self.stack.append(argument.encode("latin-1") if name.endswith("STRING") else argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self._tuple(_TUPLES[name])
        elif (action := _ACTIONS.get(name)) is not None:
            action(self, argument)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise PickleError(f"has the instruction {name}, which no batch of CIFAR has")

    def _tuple(self, length: int) -> None:
        if length > len(self.stack):
            raise IndexError(length)
        items = self.stack[len(self.stack) - length :]
        del self.stack[len(self.stack) - length :]
        self.stack.append(tuple(items))

    def marked(self) -> list[Any]:
        """The values above the last mark, taken off the stack."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:  # from the end: a file of nothing but marks costs no more than another
            at -= 1
            if at < 0:
                raise IndexError("no mark")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def call(self, _: Any) -> None:
        """The calls that write an array, its type, or bytes; none is made."""
        arguments, named = self.stack.pop(), self.stack.pop()
        name = named.name if isinstance(named, _Named) else "something"
        if name in _ARRAY:
            self.stack.append(_Array("array"))
        elif name == _TYPE and str(_text(arguments[0])).lstrip("|") in ("u1", "uint8"):
            self.stack.append(_Array("type"))
        elif name == _ENCODE and len(arguments) == 2 and arguments[1] == "latin1":
            self.stack.append(arguments[0].encode("latin-1"))
        elif name == _TYPE:
            raise PickleError(f"has an array of type '{_shown(arguments[0])}', not of bytes")
        else:
            raise PickleError(f"calls '{_shown(name)}', which no batch of CIFAR does")

    def build(self, _: Any) -> None:
        """The content of an array, or details of its type."""
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, _Array):
            raise PickleError("sets the state of something that is no array")
        if target.kind == "array":
            _, shape, kind, fortran, content = state
            if not isinstance(kind, _Array) or fortran or not isinstance(content, bytes):
                raise PickleError("has an array that is not one of bytes, row by row")
            if not all(isinstance(side, int) and side >= 0 for side in shape):
                raise PickleError("has an array of no shape")
            target.value = np.frombuffer(content, np.uint8).reshape(shape)

    def named(self, argument: Any) -> None:
        """A name, with the module before it."""
        if argument not in (*_ARRAY, _TYPE, _CLASS, _ENCODE):
            raise PickleError(f"asks for '{_shown(argument)}', which no batch of CIFAR does")
        self.stack.append(_Named(argument))

    def set_items(self, items: list[Any]) -> None:
        """Keys and values in turn, for the mapping below them."""
        if len(items) % 2 or not isinstance(self.stack[-1], dict):
            raise ValueError(items)
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][_text(key)] = value

    def append(self, items: list[Any]) -> None:
        """Items for the list below them."""
        if not isinstance(self.stack[-1], list):
            raise TypeError(self.stack[-1])
        self.stack[-1].extend(items)


def _memoize(machine: _Machine, argument: Any) -> None:
    machine.memo[len(machine.memo) if argument is None else argument] = machine.stack[-1]


_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "DICT": lambda machine, _: _dict(machine),
    "LIST": lambda machine, _: machine.stack.append(machine.marked()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.marked())),
    "SETITEM": lambda machine, _: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.marked()),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.marked()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _memoize),
    **dict.fromkeys(
        ("GET", "BINGET", "LONG_BINGET"), lambda machine, argument: machine.stack.append(machine.memo[argument])
    ),
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": lambda machine, _: machine.named(f"{machine.stack.pop(-2)} {machine.stack.pop()}"),
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}


def _dict(machine: _Machine) -> None:
    items = machine.marked()
    machine.stack.append({})
    machine.set_items(items)


def _text(value: Any) -> Any:
    """Bytes of Python 2 as text, other values unchanged."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _shown(value: Any) -> str:
    """A name in a message: one line, not too long."""
    return ascii(str(_text(value)))[1:-1][:60]


def _finished(value: Any, depth: int = 0, done: dict[int, Any] | None = None) -> Any:
    """The value with arrays in place of their stand-ins. Each part is visited once, however often it is referred to."""
    done = {} if done is None else done
    if id(value) in done:
        return done[id(value)]
    if depth > DEEPEST:
        raise PickleError("is nested deeper than a batch of CIFAR")
    made = value
    if isinstance(value, dict):
        made = {key: _finished(each, depth + 1, done) for key, each in value.items()}
    elif isinstance(value, list | tuple):
        made = type(value)(_finished(each, depth + 1, done) for each in value)
    elif isinstance(value, _Array):
        made = value.value
    if made is None or made is _MARK or isinstance(made, _Named):
        raise PickleError("has something in it that no batch of CIFAR has")
    if isinstance(value, dict | list | tuple | _Array):
        done[id(value)] = made
    return made
