"""``python -m devmodel.agent CONFIG``: play one device. Started by a supervisor only.

CONFIG is an `AgentConfig` as JSON; the descriptors in it are inherited. Reports by one line on a
descriptor of its own, "ready" or "refused: why"; standard output and error are its log, and that of
the users' programs. SIGTERM ends it cleanly, with exit code 0; the parent's death ends it at once.
"""

import io
import logging
import os
import signal
import sys

from devmodel.agent import lifeline, loop
from devmodel.agent.build import build
from devmodel.agent.config import LONGEST_REPORT, READY, REFUSED, AgentConfig
from devmodel.agent.log import Log
from devmodel.device.programs import ProgramError

log = logging.getLogger("devmodel.agent")


class _Stop:
    """Set by SIGTERM, and seen at once by a waiter: the signal writes to a pipe."""

    def __init__(self) -> None:
        self.requested = False
        self.reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGTERM, self._request)
        # A KeyboardInterrupt would look like a device program's own.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _request(self, *_: object) -> None:
        self.requested = True
        os.write(self._writer, b"x")


def _report(config: AgentConfig, line: str) -> None:
    """Say the one line, in one write, and let go of the descriptor."""
    with io.FileIO(config.report_fd, "wb") as file:
        file.write(line.encode(errors="replace")[:LONGEST_REPORT])


def main(arguments: list[str]) -> int:
    """Exit code 0 after SIGTERM, 2 for bad usage, 1 if the device cannot be, or fails."""
    if len(arguments) != 1:
        print("usage: python -m devmodel.agent CONFIG", file=sys.stderr)
        return 2
    config = AgentConfig.from_json(arguments[0])
    lifeline.die_with(config.parent)
    for descriptor in config.descriptors:
        # What a program starts need not have them.
        os.set_inheritable(descriptor, False)
    output = Log()
    output.take_over(config)
    stop = _Stop()
    try:
        attached = config.wires.attach(stop.reader)
        device = build(config, attached)
    except ProgramError as error:
        # The user's mistake: one line for the supervisor to show.
        _report(config, f"{REFUSED}{error}")
        return 1
    except Exception:
        log.exception("the device cannot be built")
        return 1
    log.info("%s, generation %d: ready", config.device.model, config.generation)
    _report(config, READY)
    try:
        loop.run(device, attached.wait, lambda: stop.requested, output.trim)
    except Exception:
        log.exception("the device failed; this is a bug")
        return 1
    device.close()
    log.info("ended")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
