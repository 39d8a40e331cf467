"""A guest program's output: cut anywhere, kept as far as it goes."""

import pytest

from devmodel.experiment import streams
from devmodel.experiment.streams import Lines, Output


def test_lines_are_told_as_they_end() -> None:
    told: list[str] = []
    lines = Lines(told.append)
    for piece in (b"on", b"e\ntwo\n", b"", b"\xff\nthr"):
        assert lines.write(piece) == len(piece)
    assert told == ["one", "two", "�"]
    assert lines.text == "one\ntwo\n�\nthr"
    assert lines.last == "thr"


def test_the_last_line_with_something_in_it() -> None:
    lines = Lines()
    assert lines.last == "it said nothing"
    lines.write(b"one\n  two \n\n \n")
    assert lines.last == "two"


def test_only_the_last_lines_are_kept() -> None:
    lines = Lines()
    for number in range(streams.MOST_LINES + 10):
        lines.write(f"{number}\n".encode())
    assert lines.text.splitlines()[0] == "10"
    lines.write(bytes(10 * streams.MOST_OF_A_LINE))
    lines.write(b"x" * 10 * streams.MOST_OF_A_LINE)
    assert len(lines.last) <= streams.MOST_OF_A_LINE


def test_output_is_remembered_beyond_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_BYTES", 8)
    one, other = Output(), Output()
    for output in (one, other):
        output.write(b"a\nb")
        output.write(b"b\ncc\n")
    assert one.whole
    assert (one.size, one.lines, one.last) == (8, [b"a", b"bb", b"cc"], "cc")
    assert one.digest == other.digest
    one.write(b"d")
    other.write(b"e")
    assert not one.whole
    assert (one.size, one.lines) == (9, other.lines)
    assert one.digest != other.digest


def test_no_output() -> None:
    assert (Output().lines, Output().last, Output().whole) == ([], "", True)


@pytest.mark.parametrize(
    ("seen", "wanted", "words"),
    [
        ([b"a"], [b"a"], ""),
        ([b"a", b"x"], [b"a", b"b"], "line 2 is 'x', not 'b'"),
        ([], [b"b"], "line 1 is missing: 'b'"),
        ([b"a", b"b"], [b"a"], "line 2 is one too many: 'b'"),
        ([b"x" * 100], [b"y"], f"line 1 is '{'x' * 60}', not 'y'"),
    ],
)
def test_the_first_difference(seen: list[bytes], wanted: list[bytes], words: str) -> None:
    assert streams.difference(seen, wanted) == words
