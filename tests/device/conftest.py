"""Fixtures of the device's tests."""

from __future__ import annotations

import pytest
from fake_driver import FakeDriver, Process
from hypothesis import HealthCheck, settings

# A machine that runs guests at the same time is slow now and then: that is no failure.
settings.register_profile("device", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("device")


@pytest.fixture
def driver() -> FakeDriver:
    """A device that a driver has taken."""
    return FakeDriver()


@pytest.fixture
def process(driver: FakeDriver) -> Process:
    """A process with a context on the device."""
    return driver.process()
