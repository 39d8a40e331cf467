"""Guest-physical addresses to file offsets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devmodel.link.rammap import HIGH_BASE, LOW_LIMIT, Segment, q35

GIB = 1 << 30


def test_little_ram_is_one_piece() -> None:
    assert q35(GIB) == [Segment(0, GIB, 0)]


def test_the_rest_is_at_4_gib() -> None:
    assert q35(3 * GIB) == [Segment(0, LOW_LIMIT, 0), Segment(HIGH_BASE, GIB, LOW_LIMIT)]


def test_no_ram_is_no_machine() -> None:
    with pytest.raises(ValueError, match="0 bytes"):
        q35(0)


@given(st.integers(1, 64 * GIB))
def test_all_ram_is_mapped_once(ram: int) -> None:
    layout = q35(ram)
    assert sum(segment.length for segment in layout) == ram
    ends = [segment.offset + segment.length for segment in layout]
    assert [segment.offset for segment in layout] == [0, *ends[:-1]]
