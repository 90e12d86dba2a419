"""A model of a few lines cannot ask for more layers than any computer has: one line, at once."""

import pytest

from cnn.models.builder import MOST_BRANCHES_DEEP, MOST_ENTRIES, build_graph
from foundation.errors import UserError


def nested(depth: int, innermost: list, **more: object) -> list:
    for _ in range(depth):
        innermost = [{"repeat": {"times": 10, "layers": innermost}}]
    return innermost


def branches(depth: int) -> list:
    layers: list = ["relu"]
    for _ in range(depth):
        layers = [{"residual": {"layers": layers}}]
    return layers


@pytest.mark.parametrize(
    "layers",
    [
        [{"repeat": {"times": 1_000_000_000, "layers": ["relu"]}}],
        [{"repeat": {"times": 1_000_000_000, "layers": []}}],
        nested(9, ["relu"]),
        nested(9, []),
        ["relu"] * (MOST_ENTRIES + 1),
    ],
)
def test_too_many_layers_are_refused(layers):
    with pytest.raises(UserError, match="more than 10,000 layers"):
        build_graph({"layers": layers}, (8,), 3)


def test_a_number_of_times_in_powers_of_ten_is_no_whole_number():
    with pytest.raises(UserError, match="whole number of times"):
        build_graph({"layers": [{"repeat": {"times": 1e9, "layers": ["relu"]}}]}, (8,), 3)


@pytest.mark.parametrize("depth", [MOST_BRANCHES_DEEP + 1, 5000])
def test_branches_too_deep_are_refused(depth):
    with pytest.raises(UserError, match="deep"):
        build_graph({"layers": branches(depth)}, (8,), 3)
    assert build_graph({"layers": [*branches(10), {"dense": {"units": 3}}]}, (8,), 3).nodes


def test_repeats_within_repeats_too_deep_are_refused():
    layers: list = ["relu"]
    for _ in range(5000):
        layers = [{"repeat": {"times": 1, "layers": layers}}]
    with pytest.raises(UserError, match="deep"):
        build_graph({"layers": layers}, (8,), 3)
