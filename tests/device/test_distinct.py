"""Distinct numbers against numpy's own sort."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from devmodel.device.distinct import distinct, distinct_places

NEAR = st.builds(
    lambda base, shift, steps: [(base + (n << shift)) % (1 << 64) for n in steps],
    st.integers(0, (1 << 64) - 1),
    st.sampled_from([0, 3, 4, 12]),
    st.lists(st.integers(0, 5000)),
)
FAR = st.lists(st.integers(0, (1 << 64) - 1))


@given(NEAR | FAR)
def test_distinct(values: list[int]) -> None:
    numbers = np.array(values, dtype=np.uint64)
    assert distinct(numbers).tolist() == sorted(set(values))
    found, places = distinct_places(numbers)
    assert found.tolist() == sorted(set(values))
    assert found[places].tolist() == values
