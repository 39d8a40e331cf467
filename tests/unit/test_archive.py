"""The archive: whose word is taken, and what a set of packages needs."""

from collections.abc import Iterator
from pathlib import Path

import pysequoia
import pytest
from fake_archive import FakeArchive, serve

from devmodel.build.archive import Archive, NoSuchPackage
from devmodel.errors import HostNotReady


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeArchive:
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "cache"))
    return FakeArchive(tmp_path / "archive")


@pytest.fixture
def uri(made_up: FakeArchive) -> Iterator[str]:
    with serve(made_up.folder) as uri:
        yield uri


def look(made_up: FakeArchive, uri: str, *suites: str) -> Archive:
    return Archive(uri, suites or ("trixie",), keys=made_up.keys)


def names(archive: Archive, *wanted: str) -> list[str]:
    return [f"{p.name} {p.version}" for p in archive.closure(wanted)]


# --- dependencies


def test_what_is_needed_comes_along(made_up: FakeArchive, uri: str) -> None:
    made_up.add("gcc", Depends="cpp (>= 2), libc6:any", Pre_Depends="base")
    made_up.add("cpp", "2", Depends="gcc")
    made_up.add("libc6")
    made_up.add("base")
    made_up.add("unrelated")
    made_up.publish()
    assert names(look(made_up, uri), "gcc") == ["base 1", "cpp 2", "gcc 1", "libc6 1"]


def test_of_alternatives_the_first_that_is_there_or_the_one_that_comes_anyhow(
    made_up: FakeArchive, uri: str
) -> None:
    made_up.add("a", Depends="gone | b | c")
    made_up.add("b")
    made_up.add("c")
    made_up.add("d", Depends="b | c")
    made_up.publish()
    assert names(look(made_up, uri), "a") == ["a 1", "b 1"]
    assert names(look(made_up, uri), "c", "d") == ["c 1", "d 1"]


def test_a_virtual_package(made_up: FakeArchive, uri: str) -> None:
    made_up.add("base", Depends="awk, versioned (>= 2)")
    made_up.add("mawk", Provides="awk")
    made_up.add("without", Provides="versioned")
    made_up.add("with", Provides="versioned (= 2)")
    made_up.publish()
    assert names(look(made_up, uri), "base") == ["base 1", "mawk 1", "with 1"]


def test_the_first_suite_is_preferred_unless_something_asks_for_more(
    made_up: FakeArchive, uri: str
) -> None:
    made_up.add("qemu", "10")
    made_up.add("common", "10")
    made_up.add("qemu", "11", suite="backports", Depends="glib, common (= 11)")
    made_up.add("common", "11", suite="backports")
    made_up.add("glib", "3", suite="backports")
    # glib comes first and takes the old one, which turns out to be wrong.
    made_up.add("glib", "2", Depends="common")
    made_up.publish()
    archive = look(made_up, uri, "trixie", "backports")
    assert names(archive, "qemu") == ["qemu 10"]
    assert names(archive, "qemu/backports") == ["common 11", "glib 2", "qemu 11"]


def test_of_one_suite_the_newest_by_debians_order(made_up: FakeArchive, uri: str) -> None:
    for version in ("7.2.9-1~bpo13+1", "7.2.12-1~bpo13+1", "7.2.12-1~bpo13"):
        made_up.add("linux", version)
    made_up.publish()
    archive = look(made_up, uri)
    assert names(archive, "linux") == ["linux 7.2.12-1~bpo13+1"]
    assert [p.version for p in archive.alone(["linux=7.2.9-1~bpo13+1"])] == ["7.2.9-1~bpo13+1"]


def test_what_is_not_there_is_named_with_who_wants_it(made_up: FakeArchive, uri: str) -> None:
    made_up.add("gcc", Depends="cpp (>= 2) | clang")
    made_up.add("cpp", "1")
    made_up.publish()
    with pytest.raises(NoSuchPackage, match=r"has no cpp \| clang, which gcc needs"):
        look(made_up, uri).closure(["gcc"])
    with pytest.raises(NoSuchPackage, match="has no rustc in trixie"):
        look(made_up, uri).closure(["rustc"])


# --- trust


def test_an_index_by_a_strangers_key_is_refused(made_up: FakeArchive, uri: str) -> None:
    made_up.add("gcc")
    made_up.publish(key=pysequoia.Tsk.generate("stranger <none@example.org>"))
    with pytest.raises(HostNotReady, match="its signature is not one of Debian's keys"):
        look(made_up, uri).closure(["gcc"])


def test_a_signed_index_that_was_changed_is_refused(made_up: FakeArchive, uri: str) -> None:
    made_up.add("gcc")
    made_up.publish()
    release = made_up.folder / "dists/trixie/InRelease"
    release.write_bytes(release.read_bytes().replace(b"SHA256:\n ", b"SHA256:\n 0"))
    with pytest.raises(HostNotReady, match="its signature is not one of Debian's keys"):
        look(made_up, uri).closure(["gcc"])


def test_text_before_the_signed_part_is_not_read(made_up: FakeArchive, uri: str) -> None:
    made_up.add("gcc")
    made_up.publish()
    release = made_up.folder / "dists/trixie/InRelease"
    release.write_bytes(b"SHA256:\n" + b"0" * 64 + b" 1 main/x\n\n" + release.read_bytes())
    assert names(look(made_up, uri), "gcc") == ["gcc 1"]


def test_packages_that_are_not_what_the_index_says_are_refused(
    made_up: FakeArchive, uri: str
) -> None:
    made_up.add("gcc")
    made_up.publish()
    index = made_up.folder / "dists/trixie/main/binary-amd64/Packages.xz"
    data = index.read_bytes()
    index.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(HostNotReady, match="is not what the archive's index says"):
        look(made_up, uri).closure(["gcc"])


def test_an_old_index_is_refused(made_up: FakeArchive, uri: str) -> None:
    made_up.add("gcc")
    made_up.publish(days=-1)
    with pytest.raises(HostNotReady, match=r"is out of date: .*clock"):
        look(made_up, uri).closure(["gcc"])


def test_another_suites_index_is_refused(made_up: FakeArchive, uri: str) -> None:
    made_up.add("gcc")
    made_up.publish(suite="sid")
    with pytest.raises(HostNotReady, match="is that of sid"):
        look(made_up, uri).closure(["gcc"])


def test_debians_keys_come_along() -> None:
    from devmodel.build import archive

    certs = [c for path in archive.KEYS.glob("*.asc") for c in pysequoia.Cert.split_file(str(path))]
    assert len(certs) == 4


def test_no_network_is_one_line(made_up: FakeArchive) -> None:
    archive = Archive("http://127.0.0.1:9", ("trixie",), keys=made_up.keys)
    with pytest.raises(HostNotReady) as caught:
        archive.closure(["gcc"])
    assert str(caught.value) == (
        "http://127.0.0.1:9/dists/trixie/InRelease could not be downloaded: Connection refused; "
        "it takes a network and a Debian mirror; the next run goes on where this one stopped"
    )
