"""A model as a table: what comes out of each layer, and what it costs."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from cnn.layers import Shape
from cnn.models.containers import Residual, Sequential
from cnn.models.model import Model


def summary_rows(model: Model) -> list[dict[str, Any]]:
    """One row a layer: `layer`, `output_shape`, `parameters`, `mflops`, and its `depth` in residual blocks.

    `parameters` counts running statistics too. `mflops` are millions of floating-point operations of one image's
    forward pass, a multiply-accumulate counted as two, element-wise work as none.
    """
    rows: list[dict[str, Any]] = []
    _walk(model.root, model.input_shape, 0, rows)
    return rows


def _walk(container: Sequential, shape: Shape, depth: int, rows: list[dict[str, Any]]) -> None:
    for layer in container.layers:
        output = layer.output_shape(shape)
        own = [*(p.value for p in layer.params.values()), *layer.buffers.values()]
        row = {
            "layer": layer.name or layer.kind,
            "output_shape": " × ".join(map(str, output)),
            "parameters": sum(tensor.size for tensor in own),
            "mflops": 0.0 if isinstance(layer, Residual) else 2 * layer.macs(shape) / 1e6,
            "depth": depth,
        }
        rows.append(row)
        if isinstance(layer, Residual):
            _walk(layer.body, shape, depth + 1, rows)
            _walk(layer.shortcut, shape, depth + 1, rows)
        shape = output


def summary_table(model: Model) -> Table:
    """The rows as a table for the terminal, with totals."""
    rows = summary_rows(model)
    image = " × ".join(map(str, model.input_shape))
    table = Table(title=f"{model.name}, input {image}", title_justify="left", show_footer=True)
    table.add_column("layer", footer="total")
    table.add_column("output shape")
    table.add_column("parameters", footer=f"{model.parameter_count:,}", justify="right")
    table.add_column("MFLOPs", footer=f"{sum(row['mflops'] for row in rows):,.1f}", justify="right")
    for row in rows:
        table.add_row(
            "  " * row["depth"] + row["layer"],
            row["output_shape"],
            f"{row['parameters']:,}" if row["parameters"] else "",
            f"{row['mflops']:,.1f}" if row["mflops"] else "",
        )
    return table


def summary_line(model: Model) -> str:
    """The counts in one line."""
    fixed = model.parameter_count - model.trainable_count
    return f"{model.parameter_count:,} parameters, {model.trainable_count:,} trainable, {fixed:,} running statistics"
