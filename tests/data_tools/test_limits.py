"""Options that could fill any disk or memory are refused by their limits."""

from __future__ import annotations

import pytest

from cnn.backends import get_ops
from data_tools.config import load
from foundation.config import load_choice
from foundation.errors import UserError


def config(group: str, **changes: object) -> dict:
    groups = {"data": load_choice("data", "toy_faces"), "merge": load_choice("merge", "default")}
    groups["data"].pop("defaults", None)
    groups[group] |= changes
    return groups


@pytest.mark.parametrize(
    ("group", "changes", "key"),
    [
        ("data", {"image_size": 10**6}, "data.image_size"),
        ("data", {"workers": 10**9}, "data.workers"),
        ("merge", {"weights": {"toy_studio": 1e9}}, "merge.weights.toy_studio"),
        ("merge", {"weights": {"toy_studio": float("nan")}}, "merge.weights.toy_studio"),
        ("merge", {"balance": {"target": 10**12}}, "merge.balance.target"),
        ("data", {"name": "../x"}, "data.name"),
    ],
)
def test_a_value_beyond_the_limit_is_refused(group, changes, key):
    with pytest.raises(UserError, match=key):
        load(config(group, **changes))
    load(config(group))


@pytest.mark.parametrize("threads", [10**9, 0, -1])
def test_a_number_of_threads_beyond_the_limit_is_refused(threads):
    with pytest.raises(UserError, match=r"backend\.threads"):
        get_ops("numpy", threads)
