"""What users' programs print: into the agent's log, bounded, and in nobody's way."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent_driver import agent_with, endpoints_of

from devmodel.abi.rings import Status
from devmodel.agent.log import LIMIT
from devmodel.agent.process import Agent
from devmodel.device import DeviceConfig
from devmodel.device.config import DeviceModel

NOISY = """
import logging
import os
import subprocess
import sys

from devmodel.device.programs import Memory, program

print("ready")
print("refused: by nobody")
print("at the start", "x" * 93_000)
sys.stderr.write("and to the other one" + "y" * 93_000)

@program("noisy")
async def noisy(memory: Memory, how: int, count: int) -> int:
    for number in range(count):
        if how == 0:
            print("line", number, "\\udc80", "x" * 1000)
        elif how == 1:
            sys.stderr.buffer.write(b"line %d " % number + b"y" * 1000)
        elif how == 2:
            os.write(1, b"line %d " % number + b"z" * 100_000)
        elif how == 3:
            subprocess.run(["sh", "-c", f"echo line {number}; echo and >&2"], check=True)
        await memory.pause()
    print("the last of", how)
    return count

@program("endless_line")
async def endless_line(memory: Memory) -> None:
    print("x" * 5_000_000 + "END")
    sys.stdout.write("x" * 5_000_000)
    print("END")

@program("closes")
async def closes(memory: Memory) -> None:
    sys.stdout.close()
    sys.stderr.close()
    raise RuntimeError("is told all the same")
"""


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    file = tmp_path / "noisy.py"
    file.write_text(NOISY)
    return file


def test_output_goes_to_the_log_and_stops_nothing(noisy: Path, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    with agent_with(noisy, log) as (agent, driver):
        text = log.read_text()
        assert "at the start xxx" in text
        assert "and to the other oneyyy" in text
        assert text.startswith("ready\nrefused: by nobody\n")
        driver.process()
        for how, count in ((0, 2000), (1, 2000), (2, 40), (3, 3)):
            completion = driver.run(1, "noisy", how, count)
            assert (completion.status, completion.result[0]) == (Status.OK, count)
            text = log.read_text(errors="replace")
            assert f"line {count - 1} " in text or f"line {count - 1}\n" in text
            assert f"the last of {how}\n" in text
            assert len(text) < LIMIT + 200_000
            assert "were dropped: the log was too long)\n" in text or how == 0
        assert driver.run(1, "endless_line").status == Status.OK
        text = log.read_text()
        assert text.endswith("xxxEND\n")
        assert len(text) < LIMIT + 1000
        assert driver.run(1, "closes").status == Status.PROGRAM_ERROR
        assert "is told all the same" in log.read_text()
        agent.stop()
        assert agent.process.returncode == 0
    assert log.read_text().endswith("ended\n")


def test_a_file_that_prints_and_is_refused(tmp_path: Path) -> None:
    """The refusal is one line, whatever else was said."""
    file = tmp_path / "bad.py"
    file.write_text(
        "import sys\nfor _ in range(30):\n  print('ready' * 20_000)\n"
        "sys.stdout.write('ready')\nraise RuntimeError('no \\udc80' + 'x' * 100_000)\n"
    )
    log = tmp_path / "agent.log"
    with endpoints_of(DeviceConfig(model=DeviceModel.MIRROR, programs=(file,))) as endpoints:
        agent = Agent.start(endpoints, 0, log, generation=1)
        report = agent.report.read().decode()
        assert report.startswith(f"refused: {file}: line 5: RuntimeError: no ?xxx")
        assert len(report) < 2000
        assert agent.process.wait(10) == 1
        assert log.stat().st_size < LIMIT + 1000
        agent.stop()
