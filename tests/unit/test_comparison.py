"""The table of `devmodel compare`: nothing cut off, one line for each model's loss."""

import io

from rich.console import Console
from test_results import row

from devmodel.experiment import comparison
from devmodel.experiment.comparison import Row


def shown(*rows: Row, width: int = 80) -> str:
    out = io.StringIO()
    comparison.show(rows, Console(file=out, width=width))
    return out.getvalue()


def test_no_number_is_cut_off() -> None:
    text = shown(
        Row(row(workload="first-touch-device", model="coherent"), "kept"),
        Row(row(workload="first-touch-device", checked=False, wall_seconds=1234.5), "SIGBUS"),
    )
    assert "…" not in text
    first, second = (line for line in text.splitlines() if "1234567" in line)
    # By column: workload, model, checked, then the numbers.
    assert first.split()[:4] == ["first-touch-device", "coherent", "yes", "1234567"]
    numbers = ["432", "12345", "12344", "1024.0", "1.5", "2.5", "77", "0%", "75%", "4096"]
    assert first.split()[4:] == [*numbers, "12.50"]
    assert second.split()[:2] == ["private", "no"]
    assert second.split()[-1] == "1234.50"


def test_loss_is_told_once_for_a_model() -> None:
    rows = [Row(row(workload=name), "SIGBUS") for name in ("kv", "stream")]
    lines = [line for line in shown(*rows).splitlines() if line.startswith("device lost")]
    assert lines == ["device lost, private: memory in HBM: SIGBUS"]


def test_a_workload_without_pages() -> None:
    text = shown(Row(row(pages=0, hbm_at_end=0), "kept"))
    (line,) = (line for line in text.splitlines() if "1234567" in line)
    assert line.split()[-4:-2] == ["-", "-"]


def test_an_empty_table() -> None:
    assert "workload" in shown()


def test_a_column_of_a_counter_is_headed_by_its_name_and_unit() -> None:
    first, second = shown().splitlines()[:2]
    assert first.split()[:3] == ["device", "CPU", "to"]
    units = ["faults", "faults", "pages", "pages", "MiB", "MiB", "MiB", "commands"]
    assert second.split()[3:11] == units
    assert "remote MiB: of both ways: what programs loaded and stored in place." in shown()
