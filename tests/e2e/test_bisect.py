"""`git bisect run` on a kernel: half an hour the first time, and so only with LONG=1."""

import shutil
import subprocess
import sys

import kernel_history
import pytest
from depth import LONG

from devmodel.build import cache
from devmodel.progress import Reporter

SECONDS = 4 * 3600
DEVMODEL = [sys.executable, "-m", "devmodel.cli.main"]

pytestmark = [
    pytest.mark.usefixtures("no_vm"),
    pytest.mark.timeout(SECONDS),
    pytest.mark.skipif(not LONG, reason="it builds a kernel, some of it several times: LONG=1"),
    pytest.mark.skipif(shutil.which("git") is None, reason="there is no git"),
]


def test_the_commit_that_breaks_migration_is_found() -> None:
    # In the cache, where the build goes too: the next time only what changed is built.
    linux = kernel_history.make(cache.folder("work", "bisect-history"), Reporter())
    done = subprocess.run(
        ["git", "bisect", "run", *DEVMODEL, "run", ".", "--bisect", "--", "dm-test-migrate"],
        cwd=linux,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is the first bad commit" in done.stdout
    assert kernel_history.BUG in done.stdout
    log = kernel_history.git(linux, "bisect", "log")
    skipped = [line for line in log.splitlines() if line.startswith("# skip:")]
    assert all(kernel_history.BROKEN in line or "mm/swap" in line for line in skipped)
