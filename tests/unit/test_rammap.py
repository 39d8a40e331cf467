"""Guest-physical addresses to file offsets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devmodel.link.rammap import HIGH_BASE, LOW_LIMIT, RamMap, Segment

GIB = 1 << 30


def test_little_ram_is_one_piece() -> None:
    assert RamMap.q35(GIB).segments == (Segment(0, GIB, 0),)


def test_the_rest_is_at_4_gib() -> None:
    assert RamMap.q35(3 * GIB).segments == (
        Segment(0, LOW_LIMIT, 0),
        Segment(HIGH_BASE, GIB, LOW_LIMIT),
    )


@pytest.mark.parametrize(
    ("address", "length", "offset"),
    [
        (0, 1, 0),
        (2 * GIB - 8, 8, 2 * GIB - 8),
        (2 * GIB - 8, 9, None),
        (2 * GIB, 1, None),
        (4 * GIB - 1, 1, None),
        (4 * GIB - 1, 2, None),
        (4 * GIB, 1, 2 * GIB),
        (5 * GIB - 1, 1, 3 * GIB - 1),
        (5 * GIB, 1, None),
        (-1, 1, None),
        (0, -1, None),
        (1 << 64, 8, None),
    ],
)
def test_only_ram_has_an_offset(address: int, length: int, offset: int | None) -> None:
    assert RamMap.q35(3 * GIB).offset(address, length) == offset


def test_no_ram_is_no_machine() -> None:
    with pytest.raises(ValueError, match="0 bytes"):
        RamMap.q35(0)


@given(st.integers(1, 64 * GIB))
def test_all_ram_is_mapped_once_and_the_map_travels(ram: int) -> None:
    layout = RamMap.q35(ram)
    assert layout.size == ram
    ends = [segment.offset + segment.length for segment in layout.segments]
    assert [segment.offset for segment in layout.segments] == [0, *ends[:-1]]
    assert RamMap.from_json(layout.to_json()) == layout
