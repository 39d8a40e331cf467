"""Which stock kernel is taken, and every road to one where the archive has moved on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_archive import FakeArchive, Handler, serve

from devmodel.build import archive, kconfig, kernel, lock, own, stock, tree
from devmodel.build.archive import NoSuchPackage
from devmodel.build.config import KernelConfig
from devmodel.build.lock import Lock
from devmodel.errors import HostNotReady
from devmodel.progress import Reporter

GOOD = "".join(f"CONFIG_{name}=y\n" for name in (*kconfig.BUILT_IN, *kconfig.EITHER))


class Notes(Reporter):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeArchive]:
    made_up = FakeArchive(tmp_path / "archive")
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(archive, "KEYS", made_up.keys)
    monkeypatch.setattr(kernel.tree, "obtain", lambda _: None)
    monkeypatch.setattr(kernel.tree, "find", lambda: object())
    monkeypatch.setattr(own, "find", lambda _: None)
    with serve(made_up.folder) as uri:
        monkeypatch.setenv("DEVMODEL_MIRROR", uri)
        yield made_up


def add(made_up: FakeArchive, number: str, config: str = GOOD, packages: str = "-1") -> None:
    """A stock kernel as Debian packs it, in backports."""
    name = f"{number}+deb13"
    uname = f"{name}-{stock.FLAVOUR}"
    modules, src = f"usr/lib/modules/{uname}", "usr/src/linux-headers"
    common, kbuild = f"linux-headers-{name}-common", f"linux-kbuild-{name}"
    net = b"\0depends=failover\0"
    parts = {
        f"linux-base-{uname}": {f"{modules}/config": config.encode()},
        f"linux-binary-{uname}": {f"{modules}/vmlinuz": b"kernel"},
        f"linux-modules-{uname}": {
            f"{modules}/kernel/net/virtio_net.ko": net,
            f"{modules}/kernel/net/failover.ko": b"",
            f"{modules}/kernel/net/other.ko": b"",
        },
        f"linux-headers-{uname}": {f"{src}-{uname}/Makefile": b"include /usr/src/x/Makefile\n"},
        common: {f"usr/src/{common}/include/linux/mm.h": b"words"},
        kbuild: {f"usr/lib/{kbuild}/scripts/x": b"x"},
    }
    links = {f"{src}-{uname}/absolute": f"/usr/lib/{kbuild}/scripts"}
    for package, files in parts.items():
        own_links = links if package == f"linux-headers-{uname}" else None
        suite, version = tree.SUITES[1], f"{number}{packages}"
        made_up.add(package, version, suite=suite, files=files, links=own_links)


def publish(made_up: FakeArchive) -> None:
    """The suites of the tools and of the sources too, as far as they are not there."""
    made_up.publish(*tree.SUITES)
    archive.of.cache_clear()


def test_the_newest_of_what_is_known_and_not_what_is_newer(made_up: FakeArchive) -> None:
    for number in ("7.2.9", "7.2.12", "7.4.1", "6.19.10"):
        add(made_up, number)
    publish(made_up)
    notes = Notes()
    found = kernel.obtain(KernelConfig(), notes)
    assert found.release == "7.2.12+deb13-cloud-amd64"
    assert found.packages == "7.2.12-1"
    assert not any("untried" in note for note in notes.said)


def test_its_headers_name_the_place_where_they_are(made_up: FakeArchive) -> None:
    add(made_up, "7.2.12")
    publish(made_up)
    found = kernel.obtain(KernelConfig(), Notes())
    root = found.image.parent / "root"
    makefile = (found.build / "Makefile").read_text()
    assert makefile == f"include {root}/usr/src/x/Makefile\n"
    assert (found.build / "absolute/x").read_text() == "x"
    assert (found.headers / "include/linux/mm.h").read_text() == "words"
    assert [path.name for path in found.modules] == ["failover.ko", "virtio_net.ko"]


def test_one_that_offers_too_little_is_passed_over(made_up: FakeArchive) -> None:
    add(made_up, "7.2.9")
    add(
        made_up, "7.2.12", GOOD.replace("CONFIG_DEVICE_PRIVATE=y", "# CONFIG_DEVICE_PRIVATE is off")
    )
    publish(made_up)
    assert kernel.obtain(KernelConfig(), Notes()).release.startswith("7.2.9+")


def test_one_that_is_not_whole_is_passed_over(made_up: FakeArchive) -> None:
    add(made_up, "7.2.9")
    add(made_up, "7.2.12")
    made_up.remove("linux-modules-7.2.12")
    publish(made_up)
    assert kernel.obtain(KernelConfig(), Notes()).release.startswith("7.2.9+")


def test_another_known_series_before_an_unknown_one(made_up: FakeArchive) -> None:
    add(made_up, "7.3.4")
    add(made_up, "7.4.1")
    publish(made_up)
    assert kernel.obtain(KernelConfig(), Notes()).release.startswith("7.3.4+")


def test_a_newer_one_is_tried_and_said_to_be_untried(made_up: FakeArchive) -> None:
    add(made_up, "7.5.1")
    publish(made_up)
    notes = Notes()
    assert kernel.obtain(KernelConfig(), notes).release.startswith("7.5.1+")
    assert notes.said[-1] == "Linux 7.5.1+deb13 is untried: the driver's tests may fail on it"


def built_instead(monkeypatch: pytest.MonkeyPatch, *there: str) -> list[str]:
    """Has own kernels "built" of the series that are `there`; which were asked for."""
    asked = []

    def obtain(config: KernelConfig, _: Reporter) -> tuple[Path, str]:
        asked.append(own.name(config))
        if asked[-1] not in there:
            raise NoSuchPackage(f"no source of {asked[-1]}")
        return Path("/built"), asked[-1]

    monkeypatch.setattr(own, "obtain", obtain)
    monkeypatch.setattr(kernel, "_own", lambda _, identity, __: identity)
    return asked


@pytest.mark.parametrize("there", ["7.2-own", "6.1-own"])
def test_without_any_it_is_built_from_source(
    made_up: FakeArchive, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    add(made_up, "6.12.5")
    publish(made_up)
    asked = built_instead(monkeypatch, there)
    notes = Notes()
    assert kernel.obtain(KernelConfig(), notes) == there
    assert asked == ["7.2-own", "6.1-own"][: 1 + (there == "6.1-own")]
    assert notes.said[-1].endswith(f"has no stock kernel that will do; {there} from source instead")


def test_a_series_that_was_named_is_not_another(
    made_up: FakeArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(made_up, "7.2.12")
    publish(made_up)
    built_instead(monkeypatch)
    with pytest.raises(NoSuchPackage, match=r"has no stock kernel 7\.3"):
        kernel.obtain(KernelConfig(series="7.3"), Notes())


def test_a_series_that_was_named_may_be_built_from_its_own_source(
    made_up: FakeArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(made_up, "7.3.4")
    publish(made_up)
    built_instead(monkeypatch, "7.2-own")
    assert kernel.obtain(KernelConfig(series="7.2"), Notes()) == "7.2-own"


def test_nothing_at_all_is_one_line(made_up: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(made_up)
    built_instead(monkeypatch)
    with pytest.raises(HostNotReady, match="has no stock kernel that will do"):
        kernel.obtain(KernelConfig(), Notes())


# --- the lock


def locked() -> Lock:
    found = lock.find(stock.request(None))
    assert found is not None
    return found


def test_what_was_resolved_stays_until_it_is_asked_anew(made_up: FakeArchive) -> None:
    add(made_up, "7.2.9")
    publish(made_up)
    first = kernel.obtain(KernelConfig(), Notes())
    add(made_up, "7.2.12")
    publish(made_up)
    assert kernel.obtain(KernelConfig(), Notes()).release == first.release
    lock.obtain(stock.request(None), anew=True)
    assert kernel.obtain(KernelConfig(), Notes()).release.startswith("7.2.12+")


def test_without_a_network_what_is_here_is_used(
    made_up: FakeArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(made_up, "7.2.12")
    publish(made_up)
    first = kernel.obtain(KernelConfig(), Notes())
    Handler.asked.clear()
    monkeypatch.setenv("DEVMODEL_MIRROR", "http://127.0.0.1:9")
    assert kernel.obtain(KernelConfig(), Notes()) == first
    # It is also the one of its series, under either name.
    assert kernel.obtain(KernelConfig(series="7.2"), Notes()) == first
    assert Handler.asked == []


def test_packages_that_left_the_archive_are_resolved_again(made_up: FakeArchive) -> None:
    add(made_up, "7.2.9")
    publish(made_up)
    lock.obtain(stock.request(None))
    made_up.remove("7.2.9")
    add(made_up, "7.2.12")
    publish(made_up)
    notes = Notes()
    assert kernel.obtain(KernelConfig(), notes).release.startswith("7.2.12+")
    assert any(note.endswith("resolving kernel again") for note in notes.said)


def test_a_mirror_that_is_gone_half_way_costs_nothing(
    made_up: FakeArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(made_up, "7.2.12")
    publish(made_up)
    gone = staticmethod(lambda name: 0 if name.startswith("linux-modules") else None)
    monkeypatch.setattr(Handler, "broken", gone)
    with pytest.raises(HostNotReady, match="the next run goes on"):
        kernel.obtain(KernelConfig(), Notes())
    assert stock.find(None) is None
    monkeypatch.setattr(Handler, "broken", staticmethod(lambda _: None))
    Handler.asked.clear()
    kernel.obtain(KernelConfig(), Notes())
    # Not fetched again: what had come, and who looks at a lock asks no index.
    fetched = [name for name in Handler.asked if not name.startswith("linux-")]
    assert fetched == []
    assert not any(name.startswith("linux-base") for name in Handler.asked)


def test_a_lock_names_version_and_hash_of_every_package(made_up: FakeArchive) -> None:
    add(made_up, "7.2.12")
    publish(made_up)
    kernel.obtain(KernelConfig(), Notes())
    assert len(locked().packages) == 6
    assert {package.version for package in locked().packages} == {"7.2.12-1"}
    assert all(len(package.sha256) == 64 for package in locked().packages)


def test_a_lock_that_is_broken_is_made_again(made_up: FakeArchive) -> None:
    add(made_up, "7.2.12")
    publish(made_up)
    kernel.obtain(KernelConfig(), Notes())
    locked().path.write_text("{")
    assert kernel.obtain(KernelConfig(), Notes()).release.startswith("7.2.12+")
