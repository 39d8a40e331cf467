"""A Debian archive: its signed indexes, and what a set of packages needs.

No apt and no dpkg are asked, so that this works on any Linux: the index of a suite is fetched,
its signature is checked against the keys that come with devmodel (``keys/``), and dependencies
are followed by the archive's own words. Nothing is installed: packages are only unpacked
(`devmodel.build.debs`), so Conflicts, Recommends and maintainer scripts are of no interest.

The formats are described in Debian's wiki (DebianRepository/Format) and in its Policy, chapter 7.
"""

import datetime
import email.utils
import functools
import hashlib
import lzma
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pysequoia
from debian.deb822 import PkgRelation
from debian.debian_support import version_compare

from devmodel import paths
from devmodel.build import fetch
from devmodel.errors import HostNotReady

KEYS = Path(__file__).parent / "keys"
ARCHITECTURE = "amd64"
COMPARE: dict[str, Callable[[int], bool]] = {
    "<<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    "=": lambda order: order == 0,
    ">=": lambda order: order >= 0,
    ">>": lambda order: order > 0,
}


class NoSuchPackage(HostNotReady):
    """The archive does not have what was asked for."""


@dataclass(frozen=True)
class Package:
    """A binary package in a suite. Sizes in bytes."""

    name: str
    version: str
    suite: str
    filename: str
    """below the archive's URI"""
    size: int
    installed: int
    """what it takes when it is unpacked"""
    sha256: str


@dataclass(frozen=True)
class Need:
    """A package's name, and the version that is wanted of it."""

    name: str
    relation: str = ""
    """one of COMPARE's; empty if any version will do"""
    version: str = ""

    def met_by(self, version: str) -> bool:
        """Whether `version` is one that is wanted."""
        return not self.relation or COMPARE[self.relation](version_compare(version, self.version))


@dataclass(frozen=True)
class Root:
    """A package that was asked for by name; version and suite are empty if any will do."""

    name: str
    version: str
    suite: str


class Stanza:
    """A paragraph of a Packages file, parsed as far as it is asked."""

    def __init__(self, text: str, suite: str) -> None:
        self._text = text
        self.suite = suite

    def __getitem__(self, field: str) -> str:
        """The field's value; empty if there is none."""
        match = re.search(rf"^{field}: (.*)$", self._text, re.MULTILINE)
        return match[1] if match else ""

    @cached_property
    def version(self) -> str:
        return self["Version"]

    @property
    def needs(self) -> list[list[Need]]:
        """What it depends on: of each inner list, one."""
        return _relations(", ".join(filter(None, (self["Pre-Depends"], self["Depends"]))))

    @property
    def provides(self) -> list[Need]:
        """Virtual packages, with their versions where they have one."""
        return [need for group in _relations(self["Provides"]) for need in group]

    def package(self) -> Package:
        """What must be known to fetch it."""
        return Package(
            self["Package"],
            self.version,
            self.suite,
            self["Filename"],
            int(self["Size"]),
            int(self["Installed-Size"] or 0) << 10,
            self["SHA256"],
        )


class Archive:
    """Suites of a mirror. Of a name that several have, the first suite's is taken if it will do.

    HostNotReady from any method if the mirror cannot be reached, or its word is not to be trusted.
    """

    def __init__(self, uri: str, suites: Sequence[str], *, keys: Path | None = None) -> None:
        self.uri = uri
        self.suites = tuple(suites)
        self._keys = keys or KEYS

    @cached_property
    def _stanzas(self) -> dict[str, list[Stanza]]:
        """By name: the suites in their order, in each the newest first."""
        found: dict[str, list[Stanza]] = {}
        for suite in self.suites:
            of_suite: dict[str, list[Stanza]] = {}
            for text in self._index(suite).split("\n\n"):
                if text.startswith("Package: "):
                    name = text[len("Package: ") : text.index("\n")]
                    of_suite.setdefault(name, []).append(Stanza(text, suite))
            for name, stanzas in of_suite.items():
                found.setdefault(name, []).extend(_newest_first(stanzas))
        return found

    @cached_property
    def _providers(self) -> dict[str, list[tuple[Need, Stanza]]]:
        found: dict[str, list[tuple[Need, Stanza]]] = {}
        for stanzas in self._stanzas.values():
            for stanza in stanzas:
                for need in stanza.provides:
                    found.setdefault(need.name, []).append((need, stanza))
        return found

    def names(self, pattern: re.Pattern[str]) -> list[str]:
        """The packages whose whole name is like `pattern`."""
        return [name for name in self._stanzas if pattern.fullmatch(name)]

    def alone(self, wanted: Iterable[str]) -> list[Package]:
        """These packages, and nothing that they depend on. NoSuchPackage if one is not there.

        Written as for apt: NAME, NAME=VERSION, NAME/SUITE.
        """
        return [self._pick(_root(item), {}).package() for item in wanted]

    def closure(self, wanted: Iterable[str]) -> list[Package]:
        """These packages and all that they need, sorted by name; written as for `alone`.

        NoSuchPackage, naming what it is for, if something is not there.
        """
        roots = [_root(item) for item in wanted]
        # What is known of a name's version. A choice that turns out to be wrong is made again.
        bounds: dict[str, list[Need]] = {}
        while True:
            chosen = self._follow(roots, bounds)
            if chosen is not None:
                return [stanza.package() for _, stanza in sorted(chosen.items())]

    def _follow(self, roots: list[Root], bounds: dict[str, list[Need]]) -> dict[str, Stanza] | None:
        """One try; None if `bounds` has learnt something that makes another necessary."""
        chosen: dict[str, Stanza] = {}
        queue: list[Stanza] = []

        def take(stanza: Stanza) -> None:
            chosen[stanza["Package"]] = stanza
            queue.append(stanza)

        for root in roots:
            take(self._pick(root, bounds))
        while queue:
            stanza = queue.pop(0)
            for group in stanza.needs:
                if any(need.name in chosen and self._meets(chosen, need) for need in group):
                    continue
                if any(self._provided(chosen, need) for need in group):
                    continue
                for need in group:
                    if need.name in chosen:
                        bounds.setdefault(need.name, []).append(need)
                        return None
                    if (found := self._best(need, bounds)) is not None:
                        take(found)
                        break
                else:
                    shown = " | ".join(need.name for need in group)
                    raise NoSuchPackage(
                        f"{self.uri} has no {shown}, which {stanza['Package']} needs",
                        hint="is the mirror complete?",
                    )
        return chosen

    def _meets(self, chosen: dict[str, Stanza], need: Need) -> bool:
        return need.met_by(chosen[need.name].version)

    def _provided(self, chosen: dict[str, Stanza], need: Need) -> bool:
        """Whether something that was chosen already stands for `need`."""
        return any(
            chosen.get(stanza["Package"]) is stanza and _stands_for(provided, need)
            for provided, stanza in self._providers.get(need.name, [])
        )

    def _best(self, need: Need, bounds: dict[str, list[Need]]) -> Stanza | None:
        """The first that meets `need` and all that is known of its name."""
        for stanza in self._stanzas.get(need.name, []):
            if all(n.met_by(stanza.version) for n in (need, *bounds.get(need.name, []))):
                return stanza
        for provided, stanza in self._providers.get(need.name, []):
            if _stands_for(provided, need):
                return stanza
        return None

    def _pick(self, root: Root, bounds: dict[str, list[Need]]) -> Stanza:
        for stanza in self._stanzas.get(root.name, []):
            if (
                root.suite in ("", stanza.suite)
                and root.version in ("", stanza.version)
                and all(need.met_by(stanza.version) for need in bounds.get(root.name, []))
            ):
                return stanza
        raise NoSuchPackage(
            f"{self.uri} has no {root.name} {root.version}".rstrip()
            + f" in {root.suite or ', '.join(self.suites)}",
            hint="is the mirror complete?",
        )

    # --- the index

    def _index(self, suite: str) -> str:
        """The text of a suite's Packages file, fetched unless it is the one of the last time."""
        release = self._release(suite)
        name = f"main/binary-{ARCHITECTURE}/Packages.xz"
        match = re.search(rf"^ ([0-9a-f]{{64}})\s+(\d+) {name}$", release, re.MULTILINE)
        if match is None:
            raise HostNotReady(f"{self.uri} has no index of {suite}", hint="use another mirror")
        sha256, size = match[1], int(match[2])
        folder = f"{self.uri}/dists/{suite}/main/binary-{ARCHITECTURE}"
        where = f"by-hash/SHA256/{sha256}"
        if "\nAcquire-By-Hash: yes\n" not in release:
            where = "Packages.xz"
        kept = paths.cache() / "lists" / f"{suite}-{sha256[:16]}.xz"
        fetch.file(f"{folder}/{where}", kept, sha256=sha256, size=size)
        for old in kept.parent.glob(f"{suite}-*.xz"):
            if old != kept:
                old.unlink(missing_ok=True)
        return lzma.decompress(kept.read_bytes()).decode()

    def _release(self, suite: str) -> str:
        """A suite's InRelease: signed by a key of ours, of that suite, and not out of date."""
        url = f"{self.uri}/dists/{suite}/InRelease"
        signed = fetch.text(url)
        certs = [cert for path in sorted(self._keys.glob("*.asc")) for cert in _certs(path)]
        try:
            verified = pysequoia.verify(signed, store=lambda _: certs)
            text = (verified.bytes or b"").decode()
        except Exception as error:  # the library has no type of its own for it
            raise HostNotReady(
                f"{url}: its signature is not one of Debian's keys",
                hint="use another mirror, or a newer devmodel",
                details=str(error),
            ) from error
        names = re.findall(r"^(?:Suite|Codename): (.*)$", text, re.MULTILINE)
        if suite not in names:
            raise HostNotReady(f"{url} is that of {' or '.join(names)}", hint="use another mirror")
        until = re.search(r"^Valid-Until: (.*)$", text, re.MULTILINE)
        if until and email.utils.parsedate_to_datetime(until[1]) < datetime.datetime.now(
            datetime.UTC
        ):
            raise HostNotReady(
                f"{url} is out of date: it was valid until {until[1]}",
                hint="use another mirror, and is this machine's clock right?",
            )
        return text


@functools.cache
def of(uri: str, suites: tuple[str, ...]) -> Archive:
    """The archive there, asked once in a process."""
    return Archive(uri, suites)


def digest(packages: Iterable[Package]) -> str:
    """One hash of what the packages are."""
    text = "".join(f"{package.name} {package.sha256}\n" for package in packages)
    return hashlib.sha256(text.encode()).hexdigest()


def _certs(path: Path) -> list[pysequoia.Cert]:
    return pysequoia.Cert.split_file(str(path))


def _root(item: str) -> Root:
    rest, _, suite = item.partition("/")
    name, _, version = rest.partition("=")
    return Root(name, version, suite)


def _stands_for(provided: Need, need: Need) -> bool:
    """Policy 7.5: what is provided without a version meets no need for one."""
    if not need.relation:
        return True
    return bool(provided.version) and need.met_by(provided.version)


def _newest_first(stanzas: list[Stanza]) -> list[Stanza]:
    if len(stanzas) < 2:
        return stanzas
    return sorted(stanzas, key=lambda stanza: _Version(stanza.version), reverse=True)


class _Version:
    """Orders versions as dpkg does."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __lt__(self, other: "_Version") -> bool:
        return bool(version_compare(self._text, other._text) < 0)


def _relations(text: str) -> list[list[Need]]:
    if not text:
        return []
    return [
        [Need(item["name"], *(item["version"] or ("", ""))) for item in group]
        for group in PkgRelation.parse_relations(text)
    ]
