"""A kernel tree with a short history: one commit does not build, and one breaks migration.

Only mm/ is under git, and only that is copied: the rest are links to the source in the cache, which
nothing here writes to. By itself it makes the tree, and says how to bisect::

    python tests/e2e/kernel_history.py FOLDER
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from devmodel.build import source
from devmodel.build.series import OWN, SERIES
from devmodel.progress import Reporter

FILE = "mm/migrate_device.c"
PINNED = "if ((folio_ref_count(folio) - extra) > folio_mapcount(folio))"
# Subject, file, what is there, what comes in its place. A reference too few is allowed by BUG, so
# that every page is taken for a pinned one, and none moves.
BROKEN = "mm/migrate_device: ask folios for their references in one place"
BUG = "mm/migrate_device: tell pinned pages more strictly"
HISTORY = (
    ("mm/util: say whose file this is", "mm/util.c", "", "/* Helpers of mm/. */\n"),
    ("mm/mmap: say whose file this is", "mm/mmap.c", "", "/* Mappings. */\n"),
    ("mm/rmap: say whose file this is", "mm/rmap.c", "", "/* Mappings, backwards. */\n"),
    (BROKEN, FILE, PINNED, PINNED.replace("folio_ref_count(folio)", "folio_references(folio)")),
    ("mm/swap: say whose file this is", "mm/swap.c", "", "/* Lists of pages. */\n"),
    (
        "mm/migrate_device: ask them as everybody does",
        FILE,
        PINNED.replace("folio_ref_count(folio)", "folio_references(folio)"),
        PINNED,
    ),
    (BUG, FILE, PINNED, PINNED.replace(" > ", " >= ")),
    ("mm/vmscan: say whose file this is", "mm/vmscan.c", "", "/* Reclaim. */\n"),
    ("mm/memcontrol: say whose file this is", "mm/memcontrol.c", "", "/* Groups. */\n"),
)


def make(folder: Path, reporter: Reporter) -> Path:
    """The tree, in `folder`, with the last commit checked out. What was there is replaced."""
    series = SERIES[OWN[0]]
    original = source.obtain(series.version, series.suite, reporter).path
    linux = folder / "linux"
    if not linux.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-al", original, linux], check=True)
    for name in ("mm", ".git"):
        shutil.rmtree(linux / name, ignore_errors=True)
    # With their times: what make has built of them stays good.
    shutil.copytree(original / "mm", linux / "mm")
    git(linux, "init", "-q")
    (linux / ".git/info/exclude").write_text("/*\n!/mm\n")
    git(linux, "add", "-f", "mm")
    git(linux, "commit", "-q", "-m", "mm as it is")
    for subject, name, there, instead in HISTORY:
        path = linux / name
        text = path.read_text()
        assert text.count(there) == 1 or not there, f"{subject}: {name} is another one"
        path.write_text(text.replace(there, instead) if there else instead + text)
        git(linux, "commit", "-q", "-a", "-m", subject)
    git(linux, "bisect", "start", "HEAD", f"HEAD~{len(HISTORY)}")
    return linux


def git(linux: Path, *words: str) -> str:
    """git's output, in the tree."""
    identity = {
        f"GIT_{who}_{what}": "nobody@localhost"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", *words],
        cwd=linux,
        env={**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


if __name__ == "__main__":
    made = make(Path(sys.argv[1]).absolute(), Reporter())
    print(f"cd {made} && git bisect run devmodel run . --bisect -- dm-test-migrate")
