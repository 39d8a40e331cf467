"""``python -m devmodel.agent CONFIG``: play one device. Started by a supervisor only.

CONFIG is an `AgentConfig` as JSON; the descriptors in it are inherited. Writes one line to stdout,
"ready" or "refused: why", and its log to stderr, which the supervisor directs to a file. SIGTERM
ends it cleanly, with exit code 0; the parent's death ends it at once.
"""

import logging
import os
import signal
import sys

from devmodel.agent import lifeline, loop
from devmodel.agent.build import build
from devmodel.agent.config import READY, REFUSED, AgentConfig
from devmodel.device.programs import ProgramError
from devmodel.link.doorbell import Waiter

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


def main(arguments: list[str]) -> int:
    """Exit code 0 after SIGTERM, 2 for bad usage, 1 if the device cannot be, or fails."""
    if len(arguments) != 1:
        print("usage: python -m devmodel.agent CONFIG", file=sys.stderr)
        return 2
    config = AgentConfig.from_json(arguments[0])
    lifeline.die_with(config.parent)
    logging.basicConfig(
        level=logging.DEBUG if config.verbose else logging.INFO,
        format=f"%(asctime)s {config.name} %(levelname)s %(name)s: %(message)s",
    )
    stop = _Stop()
    try:
        device = build(config)
    except ProgramError as error:
        # The user's mistake: one line for the supervisor to show.
        print(f"{REFUSED}{error}", flush=True)
        return 1
    except Exception:
        log.exception("the device cannot be built")
        return 1
    log.info("%s, generation %d: ready", config.model, config.generation)
    print(READY, flush=True)
    try:
        loop.run(device, Waiter(config.doorbell_fds, stop.reader), lambda: stop.requested)
    except Exception:
        log.exception("the device failed; this is a bug")
        return 1
    device.close()
    log.info("ended")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
