"""The source of a kernel series: a package of the distribution's, installed or downloaded.

A newer series comes from a suite of Debian's that this machine need not use otherwise. Its
package (architecture-independent, no dependencies of interest) is fetched from the machine's own
mirror, with a list of sources and an apt state of its own that lie in the cache, and is unpacked
there without being installed. apt checks it against the archive's keys as usual.

The cache keeps it as ``packages/<package>``: ``version``, the tarball and ``download.log``. What
is there is used without asking the network; remove the folder to get a newer version.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devmodel.build import cache, command
from devmodel.build.series import Series
from devmodel.errors import BuildFailed, HostNotReady
from devmodel.progress import Reporter

INSTALLED = Path("/usr/src")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
OS_RELEASE = Path("/etc/os-release")
# Names under which a machine's list of sources may have the distribution's main archive.
MOVING_NAMES = ("stable", "oldstable", "testing", "unstable", "sid")
OWN_TREE = "name a source tree of yours with --kernel PATH"


@dataclass(frozen=True)
class Tarball:
    """A source package's content, on this machine."""

    package: str
    path: Path
    version: str
    """what tells one from another: the package's version"""
    records: int


def tarball(series: Series, reporter: Reporter) -> Tarball:
    """The source of `series`, downloaded if that is where it comes from.

    HostNotReady, with the remedy, if it cannot be had.
    """
    if found := present(series):
        return found
    if series.suite is None:
        path = _installed_path(series)
        raise HostNotReady(f"no {path}", hint=f"apt-get install {series.package}")
    suite = series.suite

    def build(target: Path) -> None:
        _download(series.package, suite, target, reporter)

    cache.obtain("packages", series.package, build, on_wait=reporter.note)
    found = present(series)
    assert found is not None
    return found


def present(series: Series) -> Tarball | None:
    """The source of `series` if it is on this machine: installed, or downloaded before."""
    path = _installed_path(series)
    if path.is_file():
        return Tarball(series.package, path, _installed_version(series, path), series.records)
    kept = cache.folder("packages", series.package)
    if kept.is_dir():
        version = (kept / "version").read_text().strip()
        return Tarball(series.package, kept / path.name, version, series.records)
    return None


def unpack(source: Tarball, reporter: Reporter) -> Path:
    """The source tree, unpacked once into the cache."""

    def build(target: Path) -> None:
        # The tar program: Python's would take several times as long over 80,000 files.
        tar = ["tar", "-xf", source.path, "-C", target, "--no-same-owner"]
        tar += ["--checkpoint=1000", "--checkpoint-action=echo"]
        with reporter.step("unpacking the kernel source", source.records) as step:
            command.run(
                tar,
                what="kernel source",
                log=target / "unpack.log",
                each_line=lambda _: step.advance(),
            )

    name = cache.key(package=source.package, version=source.version)
    entry = cache.obtain("sources", name, build, on_wait=reporter.note)
    folders = [path for path in entry.iterdir() if path.is_dir()]
    if len(folders) != 1:
        raise BuildFailed(f"{source.path} does not hold one folder", hint=f"remove {entry}")
    return folders[0]


def patched(tree: Path, patches: Sequence[Path], reporter: Reporter) -> Path:
    """A copy of a source tree with `patches` applied, once in the cache.

    BuildFailed if one does not apply. The copy shares the files that no patch touches.
    """

    def build(target: Path) -> None:
        log = target / "patch.log"
        with reporter.step("patching the kernel source", 1 + len(patches)) as step:
            # Hard links: patch replaces a file and does not write into it.
            copy = ["cp", "-al", tree, target / tree.name]
            command.run(copy, what="kernel source", log=log)
            step.advance()
            for path in patches:
                apply = ["patch", "-p1", "--no-backup-if-mismatch", "-f", "-i", path]
                command.run(apply, what=path.name, log=log, cwd=target / tree.name)
                step.advance()

    name = cache.key(tree=str(tree), patches=[path.read_text() for path in patches])
    return cache.obtain("sources", name, build, on_wait=reporter.note) / tree.name


def _installed_path(series: Series) -> Path:
    return INSTALLED / f"{series.package}.tar.xz"


def _installed_version(series: Series, path: Path) -> str:
    """A tarball that no package owns is told by size and time."""
    query = ["dpkg-query", "-W", "-f", "${Version}", series.package]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        stat = path.stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}"
    return done.stdout.strip()


def mirror(targets: str, codename: str) -> str | None:
    """The URI of the distribution's main archive in a machine's own list of sources.

    `targets` is a line "URI SUITE COMPONENT ORIGIN" for each package list that apt knows.
    ORIGIN is unexpanded before the first `apt-get update`.
    """
    for line in targets.splitlines():
        uri, suite, component, origin = (line.split(maxsplit=3) + [""] * 4)[:4]
        if (
            suite in (codename, *MOVING_NAMES)
            and component == "main"
            and (origin == "Debian" or origin.startswith("$"))
        ):
            return uri
    return None


def _own_mirror(package: str) -> str:
    ask = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT) $(ORIGIN)"]
    try:
        done = subprocess.run(
            [*ask, "Created-By: Packages"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise HostNotReady(
            f"{package} is downloaded with apt-get, which does not run here", hint=OWN_TREE
        ) from error
    codename = ""
    if OS_RELEASE.is_file():
        for line in OS_RELEASE.read_text().splitlines():
            if line.startswith("VERSION_CODENAME="):
                codename = line.partition("=")[2].strip('"')
    uri = mirror(done.stdout, codename)
    if uri is None:
        raise HostNotReady(
            f"{package}: no Debian mirror among this machine's apt sources",
            hint=f"add one, or {OWN_TREE}",
        )
    return uri


def _download(package: str, suite: str, target: Path, reporter: Reporter) -> None:
    """Fill `target` with the package's tarball and its version."""
    uri = _own_mirror(package)
    log = target / "download.log"
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        apt = _isolated_apt(Path(scratch), uri, suite)
        with reporter.step(f"downloading {package}", 100) as step:
            done = 0.0

            def each_line(line: str) -> None:
                # dlstatus:FILE:PERCENT:TEXT
                nonlocal done
                fields = line.split(":")
                if fields[0] == "dlstatus" and len(fields) > 2:
                    percent = float(fields[2])
                    step.advance(int(percent) - int(done))
                    done = percent

            try:
                command.run([*apt, "update"], what=package, log=log)
                command.run(
                    [*apt, "-o", "APT::Status-Fd=1", "download", package],
                    what=package,
                    log=log,
                    cwd=Path(scratch),
                    each_line=each_line,
                )
            except BuildFailed as error:
                cause = _cause(error.details)
                raise HostNotReady(
                    f"{package} could not be downloaded from {suite}: {cause}",
                    hint=f"it takes a network and a Debian mirror, or {OWN_TREE}",
                    details=error.details,
                ) from error
        (deb,) = Path(scratch).glob("*.deb")
        command.run(["dpkg", "-x", deb, scratch], what=package, log=log)
        name = f"{package}.tar.xz"
        (Path(scratch) / "usr/src" / name).rename(target / name)
        field = ["dpkg-deb", "-f", str(deb), "Version"]
        version = subprocess.run(field, capture_output=True, text=True, check=True).stdout
        (target / "version").write_text(version)


def _isolated_apt(folder: Path, uri: str, suite: str) -> list[object]:
    """apt-get that knows one suite only, and writes nothing but below `folder`."""
    (folder / "lists/partial").mkdir(parents=True)
    (folder / "archives/partial").mkdir(parents=True)
    sources = folder / "devmodel.sources"
    sources.write_text(
        f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
    )
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder,
        # Who may write here is the one who runs this, also as root.
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
    }
    apt: list[object] = ["apt-get", "-q"]
    for key, value in settings.items():
        apt += ["-o", f"{key}={value}"]
    return apt


def _cause(output: str) -> str:
    """apt's first complaint."""
    lines = [line.removeprefix("E: ") for line in output.splitlines() if line.startswith("E: ")]
    return lines[0] if lines else "see -v"
