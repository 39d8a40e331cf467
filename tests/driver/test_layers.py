"""The driver's files call each other without circles, and only downwards: as docs/driver.md says.

The calls are read from the object files: what one of them leaves undefined, another defines.
"""

import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from devmodel import paths
from devmodel.build import kernel, modules, tree
from devmodel.build.config import KernelConfig
from devmodel.progress import Reporter

QUIET = Reporter(quiet=True)
DOCUMENT = paths.GUEST.parent / "docs/driver.md"

Calls = dict[str, dict[str, set[str]]]
"""of each file the files it calls, with the symbols that it takes from them"""


def calls_of(symbols: dict[str, list[str]]) -> Calls:
    """Who calls whom, from the lines that `nm -P` has for each file: a name and a type first."""
    owners: dict[str, str] = {}
    wanted: dict[str, set[str]] = defaultdict(set)
    for file, lines in symbols.items():
        for line in lines:
            name, kind = line.split()[:2]
            if kind == "U":
                wanted[file].add(name)
            elif kind.isupper():
                owners[name] = file
    calls: Calls = {file: defaultdict(set) for file in symbols}
    for file, names in wanted.items():
        for name in names & owners.keys():
            calls[file][owners[name]].add(name)
    return calls


def reached(calls: Calls, start: str) -> set[str]:
    """The files that a file calls, and those that these call, and so on."""
    found: set[str] = set()
    left = [start]
    while left:
        new = calls[left.pop()].keys() - found
        found |= new
        left += new
    return found


def circles(calls: Calls) -> list[str]:
    """Each call that leads back to its caller: caller, callee and symbols."""
    below = {file: reached(calls, file) for file in calls}
    return [
        f"{file} -> {other}: {', '.join(sorted(names))}"
        for file, others in sorted(calls.items())
        for other, names in sorted(others.items())
        if file in below[other]
    ]


def upwards(calls: Calls, order: list[str]) -> list[str]:
    """Each call of a file that stands later in `order`, as far as it has them."""
    place = {file: at for at, file in enumerate(order)}
    return [
        f"{file} -> {other}: {', '.join(sorted(names))}"
        for file, others in sorted(calls.items())
        for other, names in sorted(others.items())
        if place.get(other, -1) > place.get(file, len(place))
    ]


def documented() -> list[str]:
    """The files in the order of the table, from the bottom up."""
    table = DOCUMENT.read_text().split("## What is where\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)\.c` \|", table, re.MULTILINE)


@pytest.fixture(scope="module")
def calls() -> Calls:
    """Those of the driver, built for the kernel that is the default."""
    module = modules.driver(kernel.obtain(KernelConfig(), QUIET), QUIET)
    assert module is not None
    nm = tree.obtain(QUIET).native("bin/nm")
    symbols = {}
    for name in sources():
        path = module.parent / f"{name}.o"
        said = subprocess.run(
            [*nm, "-P", str(path)], check=True, capture_output=True, text=True, timeout=60
        )
        symbols[name] = said.stdout.splitlines()
    return calls_of(symbols)


def sources() -> set[str]:
    """The driver's files, by what comes before the .c."""
    return {path.stem for path in modules.driver_sources() if path.suffix == ".c"}


def test_no_circle(calls: Calls) -> None:
    # Were nm to say nothing, there would be no circle, either.
    assert calls["pci"]["state"]
    found = circles(calls)
    assert not found, "\n".join(found)


def test_calls_go_down_the_table(calls: Calls) -> None:
    found = upwards(calls, documented())
    assert not found, "\n".join(found)


def test_the_table_has_every_file_once() -> None:
    assert sorted(documented()) == sorted(sources())


def test_kbuild_has_the_same_order() -> None:
    kbuild = (modules.DRIVER / "Kbuild").read_text()
    assert re.findall(r"\b(\w+)\.o\b", kbuild.split("devmodel-y :=")[1].split("ccflags")[0]) == (
        documented()
    )


def test_each_file_has_its_own_header() -> None:
    """Where another file calls it; pci.c is at the top."""
    names = {path.stem for path in Path(modules.DRIVER).glob("*.h")}
    assert sources() - names == {"pci"}


def test_the_rules_see_what_they_should() -> None:
    calls = calls_of(
        {
            "low": ["low_do T 0 10", "helper t 10 10", "printk U"],
            "middle": ["middle_do T 0 10", "middle_data D 0 8", "low_do U", "high_do U"],
            "high": ["high_do T 0 10", "middle_do U", "middle_data U", "low_do U"],
        }
    )
    assert circles(calls) == ["high -> middle: middle_data, middle_do", "middle -> high: high_do"]
    assert upwards(calls, ["low", "middle", "high"]) == ["middle -> high: high_do"]
