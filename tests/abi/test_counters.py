"""Counters: a name means one thing, C tells them by the names they have here, and each is read."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from devmodel.abi import counters
from devmodel.abi.counters import Counter
from devmodel.abi.generate import ROOT, outputs

# Where counters are read; not where they are declared, counted or passed on.
READERS = ("tests", "docs", "guest", "devmodel/experiment")
PASSED_ON = ("guest/driver", "guest/uapi")


def test_a_name_means_one_thing() -> None:
    assert len(counters.BY_NAME) == len(counters.ALL)


def test_the_tables_are_in_the_order_of_the_layouts() -> None:
    names = [counter.name for counter in counters.ALL]
    assert [field.name for field in counters.Stats.FIELDS] == names
    rising = [field.name for field in counters.Counted.FIELDS]
    assert names[: len(counters.RISING)] == rising


def test_a_sum_is_of_what_is_counted() -> None:
    counted = {counter.name: counter for counter in counters.DRIVER + counters.DEVICE}
    for counter in counters.SUMS:
        assert {counted[part].unit for part in counter.parts} == {counter.unit}
        assert {counted[part].who for part in counter.parts} == {counter.who}


def test_c_has_each_value_under_its_name(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: apt-get install gcc libc6-dev")
    wanted = [f"{c.name} {number} {c.unit}" for number, c in enumerate(counters.OF_DEVICE)]
    fields = ", ".join(f".{c.name} = {number}" for number, c in enumerate(counters.OF_DEVICE))
    (tmp_path / "test.c").write_text(
        f"""
        #include <stdio.h>
        #include "guest/uapi/devmodel_stats.h"
        int main(void)
        {{
            struct devmodel_stats stats = {{ {fields} }};
            for (int i = 0; i < DEVMODEL_STATS_SHOWN; i++)
                printf("%s %d %s\\n", devmodel_stat[i].name, (int)devmodel_stat_value(&stats, i),
                       devmodel_stat[i].unit);
        }}
        """
    )
    program = tmp_path / "test"
    command = ["gcc", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}", "-o", program]
    subprocess.run([*command, tmp_path / "test.c"], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == wanted


@pytest.fixture(scope="module")
def read() -> set[str]:
    """Every word that is a member, is in quotes or begins a line that is looked for."""
    passed_on = {path for folder in PASSED_ON for path in (ROOT / folder).iterdir()}
    no_readers = {*outputs(), *passed_on, Path(__file__)}
    files = [
        path
        for folder in READERS
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".c", ".h", ".md") and path not in no_readers
    ]
    return {word for path in files for word in re.findall(r"[.\"'`^](\w+)", path.read_text())}


@pytest.mark.parametrize("counter", counters.ALL, ids=lambda counter: counter.name)
def test_somebody_reads_it(counter: Counter, read: set[str]) -> None:
    parts = {part for other in counters.SUMS for part in other.parts}
    assert counter.name in read | parts
