"""Real text for workloads: the headers of the guest kernel, which are mostly words about it."""

from collections.abc import Collection, Mapping
from pathlib import Path

from devmodel.build import cache
from devmodel.build import kernel as kernels
from devmodel.build.kernel import Kernel
from devmodel.errors import BuildFailed
from devmodel.experiment.config import Text
from devmodel.machine.config import MachineConfig
from devmodel.progress import Reporter

SIZE = 4 << 20
FOLDER = "include/linux"


def corpus(folder: Path, out: Path, size: int) -> None:
    """Write the first `size` bytes of all ``**/*.h`` below `folder` to `out`.

    The files follow each other in the order of their names, so that the same source gives the
    same text. BuildFailed if there is less.
    """
    missing = size
    with out.open("wb") as target:
        for path in sorted(folder.rglob("*.h")):
            if not missing:
                break
            missing -= target.write(path.read_bytes()[:missing])
    if missing:
        raise BuildFailed(
            f"{folder} has only {size - missing} bytes of text, {size} are wanted",
            hint="is the kernel complete?",
        )


def obtain(kernel: Kernel, reporter: Reporter, size: int = SIZE) -> Path:
    """The text of a kernel, made once and kept in the cache."""

    def build(target: Path) -> None:
        corpus(kernel.headers / FOLDER, target / "corpus.txt", size)

    wanted = name(kernel, size)
    return cache.obtain("corpus", wanted, build, on_wait=reporter.note) / "corpus.txt"


def name(kernel: Kernel, size: int = SIZE) -> str:
    """What the text of a kernel is called in the cache."""
    return cache.key(kernel=kernel.identity, folder=FOLDER, size=size)


def of_machines(machines: Mapping[str, MachineConfig], reporter: Reporter) -> Path:
    """One text for all of them: that of the first one whose kernel is here, or is fetched."""
    configs = [machine.kernel for machine in machines.values()]
    quick = [config for config in configs if config.source is None]
    return obtain(kernels.obtain((quick or configs)[0], reporter), reporter)


def texts(
    wanted: Collection[Text], machines: Mapping[str, MachineConfig], reporter: Reporter
) -> dict[Text, Path]:
    """Where each of the texts is that workloads want."""
    return {text: of_machines(machines, reporter) for text in wanted}
