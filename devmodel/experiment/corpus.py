"""Real text for workloads: the documentation of the guest kernel's own source."""

from pathlib import Path

from devmodel.machine import cache, kernel
from devmodel.machine.errors import BuildFailed
from devmodel.machine.progress import Reporter

SIZE = 4 << 20


def corpus(source: Path, out: Path, size: int) -> None:
    """Write the first `size` bytes of all ``Documentation/**/*.rst`` of `source` to `out`.

    The files follow each other in the order of their names, so that the same source gives the
    same text. BuildFailed if there is less.
    """
    missing = size
    with out.open("wb") as target:
        for path in sorted((source / "Documentation").rglob("*.rst")):
            if not missing:
                break
            missing -= target.write(path.read_bytes()[:missing])
    if missing:
        raise BuildFailed(
            f"{source}/Documentation has only {size - missing} bytes of text, {size} are wanted",
            hint="is the kernel source complete?",
        )


def obtain(reporter: Reporter, size: int = SIZE) -> Path:
    """The text, made once and kept in the cache."""
    version = kernel.source_version()
    name = cache.key(version=version, size=size)

    def build(target: Path) -> None:
        corpus(kernel.unpack(version, reporter), target / "corpus.txt", size)

    return cache.obtain("corpus", name, build) / "corpus.txt"
