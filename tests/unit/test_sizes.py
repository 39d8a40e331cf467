"""Sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devmodel import sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), (4096, 4096), ("2k", 2048), ("256M", 256 << 20), ("2GiB", 2 << 30)],
)
def test_a_size_is_bytes(text: object, size: int) -> None:
    assert sizes.parse(text) == size


@pytest.mark.parametrize("text", ["", "M", "1.5G", "-1M", "1 G", "1P", None, True, -1, 1.0])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        sizes.parse(text)


@given(st.integers(0, 1 << 50))
def test_what_is_shown_can_be_read(size: int) -> None:
    assert sizes.parse(sizes.show(size)) == size
