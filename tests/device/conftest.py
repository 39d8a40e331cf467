"""Fixtures of the device's tests."""

from __future__ import annotations

import pytest
from fake_driver import FakeDriver, Process


@pytest.fixture
def driver() -> FakeDriver:
    """A device that a driver has taken."""
    return FakeDriver()


@pytest.fixture
def process(driver: FakeDriver) -> Process:
    """A process with a context on the device."""
    return driver.process()
