"""``python -m devmodel.build KERNEL PARENT``: build what a kernel boots with, beside other work.

KERNEL is a `KernelConfig` as JSON; the build ends when the process PARENT, which started it, does.
Progress goes to stderr in lines; the last one says what went wrong, if something did, and the exit
code is that of `devmodel build`.
"""

import signal
import sys

from devmodel.agent import lifeline
from devmodel.build import guest
from devmodel.build.config import KernelConfig
from devmodel.errors import DevmodelError
from devmodel.progress import Reporter

EVERY_SECONDS = 20.0


def main() -> int:
    """0 if it is built."""
    # As an exception, so that what was begun is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    lifeline.die_with(int(sys.argv[2]), signal.SIGTERM)
    try:
        config = KernelConfig.model_validate_json(sys.argv[1])
        guest.build(config, Reporter(lines=True, every=EVERY_SECONDS))
    except DevmodelError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
