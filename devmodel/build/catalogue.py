"""Every kernel that has a name, and what there is of it on this machine."""

from dataclasses import asdict, dataclass

from devmodel.build import cache, kernel, lock, own, source, stock
from devmodel.build.config import NAMED, KernelConfig
from devmodel.build.series import SERIES, Kind, Series

MODELS = ("mirror", "private", "coherent", "numa")


@dataclass(frozen=True)
class Entry:
    """A kernel, for `devmodel kernels`."""

    name: str
    """for --kernel"""
    series: str
    """as in "7.2"."""
    kind: str
    """stock, own, patched or debug"""
    version: str | None
    """of Debian's packages; None if they were not looked for yet"""
    state: str
    """downloaded, built, or none"""
    bytes: int
    """that it takes in the cache"""
    models: tuple[str, ...]
    """that it serves"""
    hmm_tests: int
    """of the kernel's own tests, how many pass on our device; the rest is skipped on any"""
    whole_thp: bool
    release: str | None
    """what `uname -r` says"""
    lock: str | None
    """the file that names its packages and their hashes"""
    default: bool
    """what is booted where nothing names a kernel"""

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def entries() -> list[Entry]:
    """All of them; nothing is fetched, built or asked."""
    best = kernel.find(KernelConfig())
    return [_entry(name, config, best) for name, config in NAMED.items()]


def _entry(name: str, config: KernelConfig, best: kernel.Kernel | None) -> Entry:
    series, kind = _series(config), config.kind
    assert kind is not None
    found = kernel.find(config)
    if config.source is None:
        state, folder = "downloaded", stock.find(config.series)
        taken = 0 if folder is None else cache.size(folder.path)
        known = folder.lock if folder is not None else lock.find(stock.request(config.series))
    else:
        state, built = "built", own.find(config)
        taken = 0 if built is None else cache.size(built[0])
        known = lock.find(source.request(series.version, series.suite))
    first = best.identity if best is not None else None
    return Entry(
        name=name,
        series=series.version,
        kind=kind.value,
        version=_version(known),
        state=state if found is not None else "none",
        bytes=taken,
        models=(*MODELS, "cdm") if kind is Kind.PATCHED else MODELS,
        hmm_tests=series.hmm_tests,
        whole_thp=series.whole_thp,
        release=found.release if found is not None else None,
        lock=str(known.path) if known is not None else None,
        default=found.identity == first if found and first else name == next(iter(NAMED)),
    )


def _series(config: KernelConfig) -> Series:
    if config.source is not None:
        return config.source
    assert config.series is not None
    return SERIES[config.series]


def _version(found: lock.Lock | None) -> str | None:
    """The kernel's packages all have one version."""
    return None if found is None else found.packages[-1].version
