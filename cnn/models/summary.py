"""A model as a table: the output shape and the cost of each node."""

from __future__ import annotations

import io
import math
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cnn.layers import Join
from cnn.models.graph import INPUT
from cnn.models.model import Model


def summary_rows(model: Model) -> list[dict[str, Any]]:
    """One row per node: `layer`, `inputs`, `output_shape`, `parameters`, `mflops`, and its `depth` in branches.

    `parameters` counts running statistics too. `mflops` are millions of floating-point operations of one image's
    forward pass, a multiply-accumulate counted as two, element-wise work as none. `inputs` names a node's inputs where
    they are not only the node before.
    """
    rows: list[dict[str, Any]] = []
    for index, node in enumerate(model.graph.nodes):
        names = ["input" if given == INPUT else model.graph.nodes[given].name for given in node.inputs]
        rows.append(
            {
                "layer": node.name,
                "inputs": ", ".join(names) if isinstance(node.layer, Join) or node.inputs != (index - 1,) else "",
                "output_shape": " × ".join(map(str, node.shape)),
                "parameters": sum(math.prod(tensor.shape) for tensor in model.tensors[index].values()),
                "mflops": 2 * node.layer.macs(node.input_shape) / 1e6,
                "depth": node.depth,
            }
        )
    return rows


def summary_table(model: Model) -> Table:
    """The rows as a table for the terminal, with totals."""
    rows = summary_rows(model)
    image = " × ".join(map(str, model.input_shape))
    table = Table(title=f"{escape(model.name)}, input {image}", title_justify="left", show_footer=True)
    table.add_column("layer", footer="total")
    table.add_column("output shape")
    table.add_column("parameters", footer=f"{model.parameter_count:,}", justify="right")
    table.add_column("MFLOPs", footer=f"{sum(row['mflops'] for row in rows):,.1f}", justify="right")
    if branched := any(row["inputs"] for row in rows):
        table.add_column("inputs")
    for row in rows:
        table.add_row(
            "  " * row["depth"] + row["layer"],
            row["output_shape"],
            f"{row['parameters']:,}" if row["parameters"] else "",
            f"{row['mflops']:,.1f}" if row["mflops"] else "",
            *([row["inputs"]] if branched else []),
        )
    return table


def summary_text(model: Model) -> str:
    """The table and the counts as plain text, 100 characters wide."""
    console = Console(file=io.StringIO(), width=100, color_system=None, force_terminal=False)
    with console.capture() as text:
        console.print(summary_table(model))
    lines = (line.rstrip() for line in text.get().splitlines())
    return "\n".join([*lines, summary_line(model)])


def summary_line(model: Model) -> str:
    """The counts in one line."""
    fixed = model.parameter_count - model.trainable_count
    what = "running statistics and fixed weights" if model.fixed else "running statistics"
    return f"{model.parameter_count:,} parameters, {model.trainable_count:,} trainable, {fixed:,} {what}"
