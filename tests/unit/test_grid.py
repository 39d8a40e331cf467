"""From an experiment to cells: what is varied, what is filled in, what is too much."""

from pathlib import Path

import pytest

from devmodel.device.config import DeviceModel
from devmodel.errors import ConfigError
from devmodel.experiment import config
from devmodel.experiment.config import Experiment
from devmodel.experiment.sweep import grid
from devmodel.experiment.sweep.axes import MOST_CELLS, filled
from devmodel.machine.config import Policy


def load(folder: Path, text: str) -> Experiment:
    path = folder / "mine.yaml"
    path.write_text(text)
    return Experiment.load(path)


WHOLE = """
models: [mirror, private]
sweep:
  kernels: ["7.2-own"]
  sizes: [64K, 1M, 65536]
  policies: [on_touch]
  seeds: 2
workloads:
  - {name: sized, command: [dm-run, fill, "@{size}", "{seed}", "awk {print}", "{model}/{policy}"]}
  - {name: twice, command: [x], repeat: 2, timeout: 5, expect: {stdout: "{size} {kernel}"}}
"""


def test_every_point_once_with_all_filled_in(tmp_path: Path) -> None:
    cells = grid.cells(load(tmp_path, WHOLE))
    assert len(cells) == grid.size(load(tmp_path, WHOLE)) == 2 * 1 * 2 * 1 * 2 * (1 + 2)
    assert len({cell.point for cell in cells}) == len(cells)
    first = cells[0]
    assert str(first.point) == "sized mirror 7.2-own on_touch size=64K seed=1"
    assert first.workload.words == (
        *("dm-run", "fill", "@65536", "1", "awk {print}", "mirror/on_touch"),
    )
    assert first.machine.policy is Policy.ON_TOUCH
    assert first.machine.kernel.series == "7.2-own"
    assert str(cells[-1].point) == "twice private 7.2-own on_touch size=1M seed=2 run=2"
    assert cells[-1].workload.expect.stdout == "1048576 7.2-own"
    assert (cells[-1].seconds, first.seconds) == (5.0, 240.0)
    # Those of a machine follow each other.
    machines = [cell.machine for cell in cells]
    assert machines == sorted(machines, key=machines.index)


def test_without_a_sweep_it_is_the_models_and_repeats(tmp_path: Path) -> None:
    cells = grid.cells(load(tmp_path, "repeat: 2\nworkloads: [{command: [dm-info]}]"))
    assert [(cell.point.model, cell.point.run) for cell in cells] == [
        (model.value, run) for model in DeviceModel for run in (1, 2)
    ]
    assert {(cell.point.kernel, cell.point.size, cell.point.seed) for cell in cells} == {
        (None, None, None)
    }
    assert {cell.point.policy for cell in cells} == {"in_place"}


def test_what_has_no_value_stays() -> None:
    assert filled(["{kernel} {size} {} {x} {{size}}"], {"kernel": None, "size": 0}) == (
        "{kernel} 0 {} {x} {0}",
    )


def test_a_patched_kernel_stays_one(tmp_path: Path) -> None:
    text = "models: [cdm]\nsweep: {kernels: [6.1-own]}\nworkloads: [{command: [x]}]"
    (cell,) = grid.cells(load(tmp_path, text))
    assert (cell.machine.kernel.series, cell.machine.kernel.cdm) == ("6.1-own", True)
    with pytest.raises(ConfigError, match=r"^sweep\.kernels under cdm: 7\.3: cdm is built from"):
        grid.cells(load(tmp_path, text.replace("6.1-own", '"7.3"')))


def test_a_kernel_tree_lies_beside_the_file(tmp_path: Path) -> None:
    text = "models: [mirror]\nsweep: {kernels: [./linux]}\nworkloads: [{command: [x]}]"
    with pytest.raises(ConfigError, match=rf"^kernel\.tree: no folder {tmp_path}/linux"):
        grid.cells(load(tmp_path, text))
    (tmp_path / "linux").mkdir()
    (cell,) = grid.cells(load(tmp_path, text))
    assert cell.machine.kernel.tree == tmp_path / "linux"


MISTAKES = {
    "unknown axis": (
        "sweep: {size: [1]}",
        "sweep.size: unknown key; did you mean sizes?",
    ),
    "unknown kernel": (
        "sweep: {kernels: [windows]}",
        "sweep.kernels: 'windows' is not known; use one of ",
    ),
    "unknown policy": (
        "sweep: {policies: [lazy]}",
        "sweep.policies[0]: 'lazy' is not known; use 'in_place' or 'on_touch'",
    ),
    "no size": (
        "sweep: {sizes: [big]}",
        "sweep.sizes[0]: 'big' is not a size; write a whole number with K, M or G, like 256M",
    ),
    "too large": (
        "sweep: {sizes: [9223372036854775808]}",
        "sweep.sizes: 9223372036854775808 is not possible; use 0 to 9223372036854775807",
    ),
    "negative seed": (
        "sweep: {seeds: [-1]}",
        "sweep.seeds: -1 is not possible; use 0 to 9223372036854775807",
    ),
    "seeds without end": (
        "sweep: {seeds: 1000000000000}",
        "sweep.seeds: 1000000000000 seeds are not possible; use 1 to 10000, or a list",
    ),
    "no seed": ("sweep: {seeds: 0}", "sweep.seeds: 0 seeds are not possible; use 1 to "),
    "a seed in words": (
        "sweep: {seeds: [one]}",
        "sweep.seeds[0]: 'one' is no whole number; write one like 2",
    ),
    "no list": ("sweep: {sizes: 64K}", "sweep.sizes: '64K' is no list; begin its lines with '- '"),
    "two policies": (
        "policy: in_place\nsweep: {policies: [on_touch]}",
        "policy and sweep.policies exclude each other; remove one",
    ),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"{text}\nworkloads: [{{command: [x]}}]")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/mine.yaml: {message}")
    assert message.endswith(" ") or said == f"{tmp_path}/mine.yaml: {message}"


@pytest.mark.parametrize("place", ["size", "seed"])
@pytest.mark.parametrize("kind", ["command: [x, 'a{%s}b']", "program: p, args: ['{%s}']"])
def test_a_place_that_no_axis_fills(tmp_path: Path, place: str, kind: str) -> None:
    text = f"workloads: [{{name: mine, {kind % place}}}]"
    with pytest.raises(ConfigError, match=rf"mine has \{{{place}\}}, and sweep no {place}s; add"):
        load(tmp_path, f"sweep: {{}}\n{text}")
    # Without a sweep it is nothing but braces, for `devmodel compare`.
    plain = load(tmp_path, text)
    with pytest.raises(ConfigError, match=rf"^mine has \{{{place}\}}"):
        grid.cells(plain)


def test_a_grid_that_explodes(tmp_path: Path) -> None:
    text = "models: [mirror, private]\nrepeat: 3\nsweep: {seeds: %d, sizes: [1, 2]}\n"
    text += "workloads: [{command: [x]}]"
    most = MOST_CELLS // 12
    assert len(grid.cells(load(tmp_path, text % most))) == most * 12
    with pytest.raises(ConfigError) as caught:
        grid.cells(load(tmp_path, text % (most + 1)))
    assert str(caught.value) == (
        f"the grid has {12 * (most + 1)} cells (3 runs x 2 models x 2 sizes x {most + 1} seeds), "
        "and 10000 are the most; leave out values, or make more than one file of it"
    )


@pytest.mark.parametrize(
    ("words", "unused"),
    [("x", ["sizes", "seeds"]), ("x{size}", ["seeds"]), ("{seed}{size}", [])],
)
def test_what_a_workload_knows_nothing_of(tmp_path: Path, words: str, unused: list[str]) -> None:
    experiment = load(
        tmp_path, f"sweep: {{sizes: [1, 2], seeds: 2}}\nworkloads: [{{command: [x, '{words}']}}]"
    )
    assert grid.axes(experiment).unused(experiment.workloads[0].command) == unused


def test_the_one_that_ships() -> None:
    assert len(grid.cells(Experiment.load(config.SHIPPED / "sizes.yaml"))) == 8
