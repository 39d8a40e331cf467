"""The table of `devmodel compare`: nothing cut off, one line for each model's loss."""

import io

from rich.console import Console
from test_results import row

from devmodel.experiment import columns, comparison
from devmodel.experiment.comparison import Row
from devmodel.experiment.job import Ran
from devmodel.experiment.results import Result


def shown(*rows: Row, width: int = 80, names: tuple[str, ...] = columns.SHOWN) -> str:
    out = io.StringIO()
    comparison.show(rows, names, Console(file=out, width=width))
    return out.getvalue()


def of(result: Result, device_lost: str = "kept", number: int = 1) -> Row:
    return Row(Ran(result, number), device_lost)


def test_no_number_is_cut_off() -> None:
    text = shown(
        of(row(workload="first-touch-device", model="coherent"), "kept"),
        of(row(workload="first-touch-device", checked=False, wall_seconds=1234.5), "SIGBUS"),
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
    rows = [of(row(workload=name), "SIGBUS") for name in ("kv", "stream")]
    lines = [line for line in shown(*rows).splitlines() if line.startswith("device lost")]
    assert lines == ["device lost, private: memory in HBM: SIGBUS"]


def test_a_workload_without_pages() -> None:
    text = shown(of(row(pages=0, hbm_at_end=0), "kept"))
    (line,) = (line for line in text.splitlines() if "1234567" in line)
    assert line.split()[-4:-1] == ["-", "-", "-"]


def test_an_empty_table() -> None:
    assert "workload" in shown()


def test_a_column_of_a_counter_is_headed_by_its_name_and_unit() -> None:
    first, second = shown().splitlines()[:2]
    assert first.split()[:3] == ["device", "CPU", "to"]
    units = ["faults", "faults", "pages", "pages", "MiB", "MiB", "MiB", "commands"]
    assert second.split()[3:11] == units
    assert "remote MiB: of both ways: what programs loaded and stored in place." in shown()


def test_the_columns_that_are_asked_for() -> None:
    text = shown(of(row()), names=("tlb_hits", "local_bytes_read", "hbm_bytes_in_use"))
    first, second = text.splitlines()[:2]
    assert first.split() == ["tlb", "hits", "local", "bytes", "read", "in", "HBM", "wall"]
    assert second.split() == ["workload", "model", "checked", "pages", "MiB", "MiB", "s"]
    assert "tlb hits pages: page translations answered by the TLB." in text
    assert "spill" not in text
    (line,) = (line for line in text.splitlines() if "private" in line and "yes" in line)
    assert line.split()[3:] == ["999", "0.0", "256.0", "12.50"]


def test_every_column_there_is_can_be_shown() -> None:
    text = shown(of(row()), names=columns.KNOWN, width=2000)
    assert "…" not in text


def test_repeats_are_one_line() -> None:
    rows = [
        of(row(wall_seconds=seconds, cpu_faults=faults), number=number)
        for number, (seconds, faults) in enumerate(((1.0, 5), (3.0, 7), (1.5, 6)), 1)
    ]
    (line,) = (line for line in shown(*rows).splitlines() if line.startswith("wordindex"))
    assert line.split()[1:5] == ["private", "3", "of", "3"]
    assert line.split()[6] == "6"
    assert line.split()[-4:] == ["1.50", "1.00", "to", "3.00"]


def test_what_failed_does_not_count_into_a_median() -> None:
    failed = Ran(Result.blank("private", "wordindex"), 2).wrong("ended with 1, not 0")
    rows = [of(row()), Row(failed, "kept")]
    (line,) = (line for line in shown(*rows).splitlines() if line.startswith("wordindex"))
    assert line.split()[1:6] == ["private", "1", "of", "2", "1234567"]
