"""The measurements as a table for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

Record = Mapping[str, Any]

_COLUMNS = ("images/s", "ms a step", "host ms", "memory MiB", "remarks")


def terminal_table(record: Record) -> Table:
    """One row per side and mode that trained a model."""
    table = Table(title=f"training on {record['device']['name']}", title_justify="left")
    for name in ("model", "batch", "by"):
        table.add_column(name, no_wrap=True)
    for name in _COLUMNS[:-1]:
        table.add_column(name, justify="right", no_wrap=True)
    for cell in record["cells"]:
        for number, row in enumerate(_rows(cell)):
            table.add_row(*((cell["model"], str(cell["batch"])) if not number else ("", "")), *row[:-1])
        table.add_section()
    return table


def remarks(record: Record) -> Iterator[str]:
    """Notes on the rows."""
    ceilings = record["ceilings"]
    tensor = f", on tensor cores {_tera(rate)} TFLOP/s" if (rate := ceilings["tensor_flops_per_second"]) else ""
    yield f"ceilings: {_giga(ceilings['bytes_per_second'])} GB/s, {_tera(ceilings['flops_per_second'])} TFLOP/s{tensor}"
    for cell in record["cells"]:
        for row in _rows(cell):
            if row[-1]:
                yield f"{cell['model']}, batch {cell['batch']}, {row[0]}: {row[-1]}"


def markdown(record: Record) -> str:
    """The record as Markdown, without the details that only programs need."""
    provenance, device, ceilings = record["provenance"], record["device"], record["ceilings"]
    git = provenance.get("git") or {}
    revision = f"{git.get('revision', 'unknown')}{' and changes' if git.get('dirty') else ''}"
    lines = [
        f"# Benchmark on {device['name']}",
        "",
        f"- begun {provenance['started']}, revision {revision}",
        f"- `{record['command']}`",
        f"- {_facts(device)}",
        f"- {_facts({**provenance['versions'], **record.get('torch', {})})}",
        f"- images of {'×'.join(map(str, _image(record)))}, {record['settings']['precision']}, "
        f"optimizer {record['optimizer']}; each kernel by {record['method']}",
        "",
        "## Ceilings",
        "",
        f"Measured in this run: **{_giga(ceilings['bytes_per_second'])} GB/s** (bytes read plus bytes written), "
        f"**{_tera(ceilings['flops_per_second'])} TFLOP/s** in float32"
        + (f", **{_tera(rate)} TFLOP/s** in bfloat16." if (rate := ceilings["tensor_flops_per_second"]) else "."),
        "",
        "| measured by | |",
        "| --- | ---: |",
        *(_ceiling(name, value) for name, value in ceilings["measured"].items()),
        "",
        "## Training",
        "",
        "A step is batch, forward, loss, backward, update. Ours selects and augments its images; PyTorch's are ready.",
        "*host ms* is the time of the host for a step. Memory is the pool's size for ours, the peak of allocated",
        "memory for PyTorch.",
        "",
        f"| model | batch | by | {' | '.join(_COLUMNS)} |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for cell in record["cells"]:
        lines += [f"| {cell['model']} | {cell['batch']} | {' | '.join(row)} |" for row in _rows(cell)]
    for cell in record["cells"]:
        if "kernels" in cell:
            lines += ["", *_kernel_section(cell)]
    return "\n".join(lines) + "\n"


def _rows(cell: Record) -> Iterator[tuple[str, ...]]:
    """The name of the side, and the columns."""
    if "step" in cell:
        step = cell["step"]
        yield "ours", *_speed(step), _ms(step["host_seconds"]), _mib(step["peak_bytes"]), _parts(cell)
    if "error" in cell:
        yield "ours", "", "", "", "", cell["error"]
    torch = cell.get("torch", {})
    if "missing" in torch:
        yield "PyTorch", "", "", "", "", torch["missing"]
    for number, row in enumerate(torch.get("modes", ())):
        remark = [_same(torch)] if not number else []
        if "error" in row:
            yield f"PyTorch {row['mode']}", "", "", "", "", "; ".join([*remark, row["error"]])
            continue
        if "step" in cell:
            ratio = cell["step"]["images_per_second"] / row["images_per_second"]
            remark.insert(0, f"ours: {ratio:.2f} times its speed")
        yield f"PyTorch {row['mode']}", *_speed(row), "", _mib(row.get("peak_bytes")), "; ".join(remark)


def _parts(cell: Record) -> str:
    if "kernels" not in cell:
        return ""
    slowest = ", ".join(f"{row['name']} {100 * row['fraction_of_step']:.0f} %" for row in cell["kernels"][:3])
    return (
        f"{cell['kernel_launches']} parts take {_ms(cell['kernel_seconds'])} ms in sequence, "
        f"at least {_ms(cell['floor_seconds'])}; slowest: {slowest}"
    )


def _same(torch: Record) -> str:
    difference = torch["difference"]
    if "error" in difference:
        return f"not compared ({difference['error']})"
    figures = (
        f"from PyTorch in float64 the loss differs by {_tiny(difference['loss'])}, gradients by "
        f"{_tiny(difference['gradients'])}, PyTorch's own in fp32 by {_tiny(difference['pytorch_float32'])}"
    )
    return f"{'same step' if torch['same_step'] else 'NOT THE SAME STEP'}: {figures}"


def _kernel_section(cell: Record) -> list[str]:
    lines = [
        f"## Parts of a step: {cell['model']}, batch {cell['batch']}",
        "",
        f"Median time of each part alone. {cell['kernel_launches']} launches or calls take "
        f"{_ms(cell['kernel_seconds'])} ms, their floors {_ms(cell['floor_seconds'])} ms; "
        f"the step takes {_ms(cell['step']['seconds'])} ms.",
        "The floor is the time of the bytes or of the operations at the ceilings, whichever is longer.",
        "",
        "| part | largest arrays | calls | µs | MB | MFLOP | GB/s | of ceiling | GFLOP/s | of ceiling | floor µs "
        "| times floor | bound by | of step |",
        f"| --- | --- |{' ---: |' * 10} --- | ---: |",
    ]
    for row in cell["kernels"]:
        cells = (
            row["name"],
            row["shapes"],
            str(row["calls"]),
            f"{1e6 * row['seconds']:,.1f}",
            f"{row['bytes'] / 1e6:,.2f}",
            f"{row['flops'] / 1e6:,.1f}",
            _giga(row["bytes_per_second"]),
            _percent(row["fraction_of_bandwidth"]),
            _giga(row["flops_per_second"]),
            _percent(row["fraction_of_arithmetic"]),
            f"{1e6 * row['floor_seconds']:,.2f}",
            f"{row['times_floor']:,.1f}" if row["times_floor"] else "",
            row["bound"],
            _percent(row["fraction_of_step"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _image(record: Record) -> tuple[int, int, int]:
    settings = record["settings"]
    return settings["image_size"], settings["image_size"], settings["channels"]


def _facts(facts: Record) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items() if value is not None)


def _ceiling(name: str, value: float) -> str:
    unit = "GB/s" if name.startswith("copy") else "GFLOP/s"
    return f"| {name} | {_giga(value)} {unit} |"


def _speed(row: Record) -> tuple[str, str]:
    return f"{row['images_per_second']:,.0f}", _ms(row["seconds"])


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.3f}"


def _mib(size: int | None) -> str:
    return "" if size is None else f"{size / 2**20:,.0f}"


def _giga(rate: float) -> str:
    return f"{rate / 1e9:,.1f}"


def _tera(rate: float) -> str:
    return f"{rate / 1e12:,.2f}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _tiny(number: float | None) -> str:
    return "no number" if number is None else f"{number:.0e}"
