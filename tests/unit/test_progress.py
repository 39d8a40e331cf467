"""What a long build says, on a terminal and elsewhere."""

import io

from rich.console import Console

from devmodel.progress import Reporter


def reporter(*, terminal: bool, quiet: bool = False) -> tuple[Reporter, io.StringIO]:
    out = io.StringIO()
    return Reporter(Console(file=out, force_terminal=terminal, width=80), quiet=quiet), out


def test_elsewhere_than_on_a_terminal_it_is_two_lines() -> None:
    progress, out = reporter(terminal=False)
    with progress.step("building the kernel", 10) as step:
        step.advance(3)
    begin, end = out.getvalue().splitlines()
    assert begin == "building the kernel ..."
    assert end.startswith("building the kernel: done in 0.")


def test_a_bar_is_full_at_the_end_and_not_before() -> None:
    progress, out = reporter(terminal=True)
    with progress.step("building the kernel", 10) as step:
        step.advance(25)  # more lines than expected
        assert " 90 %" in last_frame(progress, out)
    assert "100 %" in out.getvalue()


def last_frame(progress: Reporter, out: io.StringIO) -> str:
    """What is on the terminal now; a bar draws itself ten times a second, or when asked to."""
    live = progress.console._live_stack[-1]
    live.refresh()
    return out.getvalue()


def test_quiet_is_quiet() -> None:
    progress, out = reporter(terminal=True, quiet=True)
    with progress.step("building", 10) as step:
        step.advance()
    progress.note("a note")
    assert out.getvalue() == ""


def test_a_note_is_not_markup() -> None:
    progress, out = reporter(terminal=False)
    progress.note("[bold]5 [/] of 6")
    assert out.getvalue() == "[bold]5 [/] of 6\n"
