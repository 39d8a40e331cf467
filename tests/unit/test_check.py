"""`devmodel check`: what it prints, its exit codes, and files that are no traces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from oracle_world import Side, World, altered, find, one

from devmodel.abi.trace import TraceKind
from devmodel.cli.main import main


def say(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["check", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def bad_world() -> World:
    """The device uses page 2 once more after it was taken."""
    world, side = one()
    world.update(side, 1, 2, 1)
    side.records.append(side.records[find(side, TraceKind.ACCESS)])
    return world


def test_a_good_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, _ = one()
    code, out, err = say(capsys, world.write(tmp_path))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "          device 0",
        "REGISTER         1",
        "MAP              1",
        "RESET            1",
        "CONTROL          1",
        "ACCESS           1",
        "END              1",
        "",
        "1 pages accessed, 0 invalidates acknowledged",
        "",
        "no violation",
    ]


def test_a_good_run_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, _ = one()
    code, out, _ = say(capsys, world.write(tmp_path) / "device0.trace", "--json")
    assert code == 0
    assert json.loads(out) == {"accesses": 1, "invalidates": 0, "violations": []}


def test_a_violation_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = say(capsys, bad_world().write(tmp_path), "--json")
    assert code == 1
    assert json.loads(out) == {
        "accesses": 2,
        "invalidates": 1,
        "violations": [
            {
                "invariant": 1,
                "what": "access through a revoked translation",
                "device": 0,
                "record": 8,
                "ctx": 1,
                "va": "0x2000",
                "bus": "0x101000",
            }
        ],
    }


def test_a_violation_is_shown_with_both_sides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = say(capsys, bad_world().write(tmp_path))
    assert code == 1
    assert "  invariant 1: access through a revoked translation: 1\n" in out
    assert "  device 0, context 1, address 0x2000, at system 0x101000\n" in out
    story = out[out.index("\n  device 0            1") :].strip("\n").splitlines()
    assert [line.split("  ")[-1].strip() for line in story] == [
        "RESET",
        "REGISTER ctx 1",
        "MAP ctx 1 0x2000: system 0x101000 (read, write)",
        "ACCESS ctx 1 0x2000: read system 0x101000 (TLB)",
        "CONTROL INVALIDATE ctx 1 0x2000, 1 page: OK",
        "UPDATE ctx 1 0x2000, 1 page: leaves nothing, invalidated",
        "ACCESS ctx 1 0x2000: read system 0x101000 (TLB)",
    ]
    assert [line[0] for line in story] == [" "] * 6 + [">"]


def test_the_story_has_the_other_device_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, _ = one()
    world.sides.append(Side(1, World().sides[0].records))
    world.register(world.sides[1], 2, 7)
    world.register(world.sides[1], 3, 9)
    world.map(world.sides[1], 3, 2, False)
    world.places[7, 2] = (None, 0x777000)
    world.map(world.sides[1], 2, 2, False)
    code, out, _ = say(capsys, world.write(tmp_path))
    assert code == 1
    assert "The first: one page in two places\n" in out
    assert "  driver of 0" in out and "MAP ctx 1 0x2000: system 0x101000 (read, write)" in out
    assert "> driver of 1" in out and "MAP ctx 2 0x2000: system 0x777000 (read)" in out
    # The other process of that device has nothing to do with it.
    assert "ctx 3" not in out


def test_a_long_story_is_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, side = one()
    for _ in range(40):
        world.access(side, 1, 2, False)
    world.update(side, 1, 2, 1)
    side.records += [side.records[find(side, TraceKind.ACCESS)]] * 20
    _, out, _ = say(capsys, world.write(tmp_path))
    assert "  ... 30 earlier records\n" in out
    assert out.count("\n  device 0 ") + out.count("\n  driver of 0 ") == 16 + 5


def test_a_trace_without_an_end_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, _ = one()
    code, out, _ = say(capsys, world.write(tmp_path, end=False))
    assert code == 0
    assert "device 0 did not end as it should: checked as far as its trace goes\n" in out


def test_half_a_record_at_the_end_was_not_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = bad_world().write(tmp_path, end=False) / "device0.trace"
    file.write_bytes(file.read_bytes()[:-20])
    code, out, _ = say(capsys, file)
    assert (code, out.splitlines()[-1]) == (0, "no violation")


# What is no trace: what is done to a good one's bytes, and what is said.
DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "not a trace, but 0 bytes; "),
    "a text": (lambda _: b"hello\n" * 100, "not a trace; a trace comes from devmodel run --trace"),
    "another version": (
        lambda data: data[:16] + bytes(8) + data[24:],
        "written by another version of devmodel; check it with the version that wrote it",
    ),
    "an unknown kind": (
        lambda data: data[:64] + b"\x63" + data[65:],
        "damaged: record 1 is of kind 99; ",
    ),
    "a page shift": (lambda data: data[:40] + b"\x40" + data[41:], "damaged: page shift 64; "),
    "zeros": (lambda data: data + bytes(64), "damaged: record 7 is of kind 0; "),
    "twice the same": (lambda data: data + data[64:], "damaged: the driver's sequence goes back; "),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_no_trace_is_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, message = DAMAGE[name]
    world, _ = one()
    file = world.write(tmp_path) / "device0.trace"
    file.write_bytes(damage(file.read_bytes()))
    code, out, err = say(capsys, file)
    assert (code, out) == (2, "")
    assert err.startswith(f"devmodel: {file}: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("pages", [0, 1 << 40])
def test_impossible_numbers_of_pages(
    pages: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, side = one()
    altered(side, find(side, TraceKind.ACCESS), npages=pages)
    code, _, err = say(capsys, world.write(tmp_path))
    assert code == 2
    assert f"damaged: ACCESS of {pages} or of no pages; " in err


def test_a_hole_proves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, side = one()
    altered(side, 2, kind=TraceKind.HOLE)
    code, _, err = say(capsys, world.write(tmp_path))
    assert code == 2
    assert "records of the driver's are missing before record 3; nothing can be proved" in err


def test_places_without_traces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = say(capsys, tmp_path)
    assert (code, err.split(";")[0]) == (
        2,
        f"devmodel: {tmp_path}: no device*.trace in this folder",
    )
    code, _, err = say(capsys, tmp_path / "none")
    assert (code, err.split(";")[0]) == (
        2,
        f"devmodel: {tmp_path / 'none'}: No such file or directory",
    )


def test_two_traces_of_one_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, _ = one()
    world.write(tmp_path)
    (tmp_path / "device1.trace").write_bytes((tmp_path / "device0.trace").read_bytes())
    code, _, err = say(capsys, tmp_path)
    assert (code, err) == (
        2,
        f"devmodel: {tmp_path}: two traces of device 0; give the folder of one run\n",
    )
