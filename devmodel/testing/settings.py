"""What a command line or an ini file says for all tests. As light as the plugin: pytest alone."""

from __future__ import annotations

from pathlib import Path

import pytest

# Each with a metavar, and what it is for.
OPTIONS = (
    ("--devmodel", "NAME|FILE,...", "the machine of tests that name none; of several, each"),
    ("--devmodel-kernel", "NAME|PATH", "boot this kernel where a test names none"),
    ("--devmodel-policy", "POLICY", "what a device's touch does where a test does not say"),
    ("--devmodel-append", "WORDS", "more kernel parameters, for all"),
)
LOGS = "--devmodel-logs"


def key(option: str) -> str:
    """An option's ini key."""
    return option.removeprefix("--").replace("-", "_")


def option(config: pytest.Config, name: str) -> str:
    """What the command line says, or the ini file; empty if neither does."""
    given = config.getoption(name, default=None)
    return str(given if given is not None else config.getini(key(name)))


def base(config: pytest.Config, name: str) -> Path:
    """What a path that an option holds is relative to: where it was typed, or the ini file."""
    typed = config.getoption(name, default=None) is not None
    return config.invocation_params.dir if typed else config.rootpath


def listed(config: pytest.Config) -> list[str]:
    """The descriptions that the command line, or the ini file, names for tests that name none."""
    return [name.strip() for name in option(config, "--devmodel").split(",") if name.strip()]
