"""What a long build says, on a terminal and elsewhere."""

import io
import threading

import pytest
from rich.console import Console

from devmodel import progress
from devmodel.progress import Reporter


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what these tests are started from, which may be none that can draw."""
    monkeypatch.setenv("TERM", "xterm")


def reporter(*, terminal: bool, quiet: bool = False) -> tuple[Reporter, io.StringIO]:
    out = io.StringIO()
    return Reporter(Console(file=out, force_terminal=terminal, width=80), quiet=quiet), out


def test_elsewhere_than_on_a_terminal_it_is_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "WORTH_SECONDS", 0.0)
    out = io.StringIO()
    spoken = threading.Event()

    class Told(Reporter):
        def note(self, text: str) -> None:
            super().note(text)
            if "after" in text:
                spoken.set()

    told = Told(Console(file=out, width=80), every=0.01)
    with told.step("building the kernel", 10) as step:
        step.advance(3)
        assert spoken.wait(20)  # by itself, while the work says nothing
    begin, *middle, end = out.getvalue().splitlines()
    assert begin == "building the kernel ..."
    assert middle[-1].startswith("building the kernel: 30 % after 0 s")
    assert end.startswith("building the kernel: done in 0.")


def test_bars_are_for_terminals_and_not_for_what_goes_on_behind() -> None:
    out = io.StringIO()
    behind = Reporter(Console(file=out, force_terminal=True, width=80, no_color=True), lines=True)
    with behind.step("building", 10):
        pass
    assert out.getvalue().strip() == "building ..."


def test_a_bar_is_full_at_the_end_and_not_before() -> None:
    bar, out = reporter(terminal=True)
    with bar.step("building the kernel", 10) as step:
        step.advance(25)  # more lines than expected
        assert " 90 %" in last_frame(bar, out)
    assert "100 %" in out.getvalue()


def last_frame(bar: Reporter, out: io.StringIO) -> str:
    """What is on the terminal now; a bar draws itself ten times a second, or when asked to."""
    live = bar.console._live_stack[-1]
    live.refresh()
    return out.getvalue()


def test_quiet_is_quiet() -> None:
    bar, out = reporter(terminal=True, quiet=True)
    with bar.step("building", 10) as step:
        step.advance()
    bar.note("a note")
    assert out.getvalue() == ""


def test_a_note_is_not_markup() -> None:
    bar, out = reporter(terminal=False)
    bar.note("[bold]5 [/] of 6")
    assert out.getvalue() == "[bold]5 [/] of 6\n"
