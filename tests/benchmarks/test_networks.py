"""The table of all networks: its sizes are those of the code, and a rate is that of the fastest round."""

import pytest

from benchmarks import networks
from benchmarks.networks import TABLE, main, measure, shipped, sizes


def recorded():
    """The rows of the page in docs: name, parameters, MFLOPs, and both rates."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    return {name: cells for name, *cells in rows}


def test_the_page_has_every_network_with_its_sizes_the_smallest_first():
    rows = recorded()
    assert set(rows) == set(shipped())
    for name, (parameters, mflops, *rates) in rows.items():
        row = sizes(name)
        assert (parameters, mflops) == (f"{row.parameters:,}", f"{row.mflops:,.1f}"), name
        assert all(float(rate.replace(",", "")) > 0 for rate in rates)
    counts = [int(cells[0].replace(",", "")) for cells in rows.values()]
    assert counts == sorted(counts)


def test_a_rate_is_that_of_the_fastest_round(monkeypatch):
    """By a clock of our own: a call of training takes 4, 4, then 8, 2, 16 s; one of inference a quarter."""
    lasts = [4.0, 4.0, 8.0, 2.0, 16.0]
    now, left = [0.0], [*lasts, *(each / 4 for each in lasts)]

    def advance(*_):
        now[0] += left.pop(0)

    monkeypatch.setattr(networks.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(networks.Workload, "__call__", advance)
    monkeypatch.setattr(networks.InferenceModel, "forward", advance)
    row = measure("mlp", batch=8, threads=1, rounds=3, least=0.1)
    assert (row.training, row.inference) == (8 / 2, 8 / 0.5)
    assert not left


def test_sizes_alone_are_printed_without_measuring(capsys, monkeypatch):
    monkeypatch.setattr(networks, "measure", None)
    assert main(["--sizes", "--model", "mlp"]) == 0
    assert f"| `mlp` | {2304 * 128 + 128 + 128 * 64 + 64 + 64 * 7 + 7:,} | 0.6 |" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--write", "--model", "mlp"], ["--write", "--sizes"], ["--rounds", "0"]])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_an_unknown_network_is_one_line(capsys):
    assert main(["--model", "alexnet"]) == 2
    assert capsys.readouterr().err.startswith("error: benchmark.models: unknown model 'alexnet'")


def test_the_page_is_written_from_what_was_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(networks, "TABLE", tmp_path / "networks.md")
    monkeypatch.setattr(networks, "shipped", lambda: ["lenet", "mlp"])
    monkeypatch.setattr(
        networks, "measure", lambda name, *_: networks.Row(name, {"mlp": 5, "lenet": 7}[name], 1.25, 1234.4, 2.0)
    )
    assert main(["--write", "--batch", "17", "--threads", "1", "--rounds", "3"]) == 0
    page = (tmp_path / "networks.md").read_text()
    rows = "| `mlp` | 5 | 1.2 | 1,234 | 2 |\n| `lenet` | 7 | 1.2 | 1,234 | 2 |\n"
    assert rows in page
    assert rows in capsys.readouterr().out
    assert all(text in " ".join(page.split()) for text in ("batches of 17 with 1 threads", "fastest of 3 rounds"))
