"""Real text for workloads: the documentation of the guest kernel's own source."""

from pathlib import Path

from devmodel.build import cache, source
from devmodel.build.series import DEFAULT, SERIES
from devmodel.errors import BuildFailed
from devmodel.progress import Reporter

SIZE = 4 << 20


def corpus(tree: Path, out: Path, size: int) -> None:
    """Write the first `size` bytes of all ``Documentation/**/*.rst`` of `tree` to `out`.

    The files follow each other in the order of their names, so that the same source gives the
    same text. BuildFailed if there is less.
    """
    missing = size
    with out.open("wb") as target:
        for path in sorted((tree / "Documentation").rglob("*.rst")):
            if not missing:
                break
            missing -= target.write(path.read_bytes()[:missing])
    if missing:
        raise BuildFailed(
            f"{tree}/Documentation has only {size - missing} bytes of text, {size} are wanted",
            hint="is the kernel source complete?",
        )


def obtain(reporter: Reporter, size: int = SIZE) -> Path:
    """The text, made once and kept in the cache."""
    tarball = source.tarball(SERIES[DEFAULT], reporter)
    name = cache.key(version=tarball.version, size=size)

    def build(target: Path) -> None:
        corpus(source.unpack(tarball, reporter), target / "corpus.txt", size)

    return cache.obtain("corpus", name, build) / "corpus.txt"
