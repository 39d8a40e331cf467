"""Kernels: keys of the cache, users' own trees, and what a .config must have."""

import contextlib
import lzma
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from devmodel.build import cache, command, kconfig, kernel, own, packed, source, tree
from devmodel.build.config import NAMED, KernelConfig
from devmodel.build.series import OWN, SERIES
from devmodel.build.tools import HostTools
from devmodel.errors import BuildFailed, ConfigError, HostNotReady, KernelUnfit
from devmodel.progress import Reporter

QUIET = Reporter(quiet=True)


NEEDED = {**kconfig.BUILT_IN, **kconfig.EITHER}


def config_text(without: str = "") -> str:
    names = [name for name in NEEDED if name != without]
    return "".join(f"CONFIG_{name}=y\n" for name in names) + f"# CONFIG_{without} is not set\n"


def built_tree(folder: Path, config: str) -> Path:
    (folder / "arch/x86/boot").mkdir(parents=True)
    (folder / "arch/x86/boot/bzImage").write_text("kernel")
    (folder / "include/config").mkdir(parents=True)
    (folder / "include/config/kernel.release").write_text("7.2.0-mine\n")
    (folder / ".config").write_text(config)
    return folder


def test_a_built_tree_is_used_as_it_is(tmp_path: Path) -> None:
    tree = built_tree(tmp_path / "linux", config_text())
    found = kernel.obtain(KernelConfig(tree=tree), QUIET)
    assert found.image == tree / "arch/x86/boot/bzImage"
    assert (found.release, found.build) == ("7.2.0-mine", tree)


def test_a_kernel_without_device_private_is_refused_by_name(tmp_path: Path) -> None:
    tree = built_tree(tmp_path / "linux", config_text(without="DEVICE_PRIVATE"))
    with pytest.raises(ConfigError) as caught:
        kernel.obtain(KernelConfig(tree=tree), QUIET)
    assert str(caught.value) == (
        f"{tree}/.config: this kernel lacks CONFIG_DEVICE_PRIVATE=y (device memory as struct "
        "pages); add to its .config what stands before each bracket, and build it again"
    )


def test_every_missing_option_is_named(tmp_path: Path) -> None:
    path = tmp_path / ".config"
    path.write_text("CONFIG_PCI_MSI=m\n")
    with pytest.raises(ConfigError) as caught:
        kconfig.check(path)
    for name in NEEDED:
        assert f"CONFIG_{name}=y" in str(caught.value)


def test_a_folder_that_is_no_kernel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a built kernel nor a kernel source tree"):
        kernel.obtain(KernelConfig(tree=tmp_path), QUIET)


def test_a_half_configured_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scripts/kconfig").mkdir(parents=True)
    (tmp_path / "scripts/kconfig/merge_config.sh").touch()
    (tmp_path / ".config").touch()
    with pytest.raises(ConfigError, match=r"configured but not built; run `make -C "):
        kernel.obtain(KernelConfig(tree=tmp_path), QUIET)


def test_a_tree_that_was_built_in_its_own_folder_is_made_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "cache"))
    linux = built_tree(tmp_path / "linux", config_text())
    image, made = linux / "arch/x86/boot/bzImage", []

    def run(_: HostTools, argv: Sequence[object], **__: object) -> None:
        made.append([str(word) for word in argv])
        image.write_text("another kernel")

    monkeypatch.setattr(HostTools, "run", run)
    kernel.obtain(KernelConfig(tree=linux), QUIET)
    assert made == []
    kernel.obtain(KernelConfig(tree=linux, make=True), QUIET)
    asked, built = made
    assert asked == ["make", "-C", str(linux), "olddefconfig"]
    assert built[:3] == ["make", "-C", str(linux)] and built[-2:] == ["bzImage", "modules"]
    assert not any(word.startswith("O=") for word in built)
    # Another commit may lack what this one had.
    (linux / ".config").write_text(config_text(without="DEVICE_PRIVATE"))
    with pytest.raises(KernelUnfit, match="DEVICE_PRIVATE"):
        kernel.obtain(KernelConfig(tree=linux, make=True), QUIET)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "linux"]


class FakeTree:
    """As far as a kernel's key is concerned."""

    compiler = "gcc-14 1"


def source_tree(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel's source as a user has it, to be built into a cache of its own."""
    monkeypatch.setenv("DEVMODEL_CACHE", str(folder / "cache"))
    monkeypatch.setattr(tree, "obtain", lambda _: FakeTree())
    linux = folder / "linux"
    (linux / "scripts/kconfig").mkdir(parents=True)
    (linux / "scripts/kconfig/merge_config.sh").touch()
    return linux


def test_two_builds_of_one_tree_come_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two threads here: a lock of a file is a descriptor's, not a process's."""
    linux = source_tree(tmp_path, monkeypatch)
    steps: list[str] = []
    waits, made = threading.Event(), 0

    class Telling(Reporter):
        def note(self, text: str) -> None:
            assert text.startswith("waiting for another process that builds")
            waits.set()

    def merge(_: Path, output: Path, *__: object) -> None:
        (output / ".config").write_text(config_text())

    def make(_: Path, output: Path, *__: object) -> None:
        nonlocal made
        steps.append("begins")
        shutil.rmtree(output / "arch", ignore_errors=True)
        if made == 0:
            assert waits.wait(20)
        made += 1
        (output / "arch/x86/boot").mkdir(parents=True)
        (output / "arch/x86/boot/bzImage").write_text(str(made))
        (output / "include/config").mkdir(parents=True, exist_ok=True)
        (output / "include/config/kernel.release").write_text("7.2.0\n")
        steps.append("ends")

    monkeypatch.setattr(own, "merge", merge)
    monkeypatch.setattr(own, "settle", lambda *_: steps.append("settles"))
    monkeypatch.setattr(own, "make", make)
    config = KernelConfig(tree=linux)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(kernel.obtain, config, Telling(quiet=True)) for _ in range(2)]
        found = [future.result(20) for future in both]
    # Only the first one makes a .config.
    assert steps == ["begins", "ends", "settles", "begins", "ends"]
    assert found[0].identity != found[1].identity


def test_a_tree_that_is_built_anew_right_after_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linux = source_tree(tmp_path, monkeypatch)
    output: list[Path] = []

    @contextlib.contextmanager
    def locked(*_: object) -> Iterator[None]:
        yield
        # The next one's make begins at once.
        shutil.rmtree(output[0] / "arch")

    monkeypatch.setattr(own, "merge", lambda _, folder, *__: built_tree(folder, config_text()))
    monkeypatch.setattr(own, "make", lambda _, folder, *__: output.append(folder))
    monkeypatch.setattr(cache, "locked", locked)
    assert kernel.obtain(KernelConfig(tree=linux), QUIET).release == "7.2.0-mine"


def test_what_may_be_a_module(tmp_path: Path) -> None:
    path = tmp_path / ".config"
    path.write_text(config_text().replace("CONFIG_VIRTIO_NET=y", "CONFIG_VIRTIO_NET=m"))
    kconfig.check(path)
    path.write_text(config_text().replace("CONFIG_DEVTMPFS=y", "CONFIG_DEVTMPFS=m"))
    with pytest.raises(ConfigError, match="CONFIG_DEVTMPFS=y"):
        kconfig.check(path)


def test_folders_come_by_virtiofs_or_else_by_9p() -> None:
    nine_p = {"NET_9P_VIRTIO": "y", "9P_FS": "m"}
    assert kconfig.sharing({**nine_p, "VIRTIO_FS": "m"}, layered=False) == "virtiofs"
    assert kconfig.sharing(nine_p, layered=False) == "9p"
    assert kconfig.sharing({**nine_p, "OVERLAY_FS": "m"}, layered=True) == "9p"
    with pytest.raises(KernelUnfit, match=r"lacks CONFIG_VIRTIO_FS=y \(folders of the host's\)"):
        kconfig.sharing({"NET_9P_VIRTIO": "y"}, layered=False)
    with pytest.raises(KernelUnfit, match=r"lacks CONFIG_OVERLAY_FS=y \(the guest's own layer"):
        kconfig.sharing(nine_p, layered=True)


def test_the_fragments_have_what_is_required() -> None:
    options = kconfig.read(own.FRAGMENTS / "base.config")
    # Selected by TEST_HMM, and not to be asked for.
    assert set(kconfig.missing(options)) == {"HMM_MIRROR"}
    assert options["TEST_HMM"] == "m"
    assert kconfig.sharing(options, layered=True) == "virtiofs"


def test_a_debug_kernel_is_another_kernel() -> None:
    plain, debug = (own.fragments(KernelConfig(debug=flag)) for flag in (False, True))
    assert [path.name for path in plain] == ["base.config"]
    assert [path.name for path in debug] == ["base.config", "debug.config"]


def test_no_compiler_for_a_kernel_that_was_built_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostNotReady, match="install gcc and make"):
        HostTools().compiler  # noqa: B018


def test_a_failed_build_shows_the_error_and_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = ["sh", "-c", "echo CC fine.o; echo 'x.c:1: error: no'; echo last; exit 2"]
    lines: list[str] = []
    with pytest.raises(BuildFailed) as caught:
        command.run(script, what="driver", log=log, each_line=lines.append)
    assert str(caught.value) == f"driver: sh ended with 2; its whole output is in {log}"
    assert caught.value.details == "x.c:1: error: no"
    assert lines == ["CC fine.o\n", "x.c:1: error: no\n", "last\n"]


def test_the_makeflags_of_others_do_not_reach_a_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MAKEFLAGS", "-j99")
    monkeypatch.setenv("KBUILD_OUTPUT", "/x")
    log = tmp_path / "log"
    command.run(["env"], what="env", log=log)
    assert "MAKEFLAGS" not in log.read_text()
    assert "KBUILD_OUTPUT" not in log.read_text()


def test_a_kernel_that_is_not_built_is_not_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tree, "find", FakeTree)
    monkeypatch.setattr(tree, "obtain", lambda _: FakeTree())
    config = KernelConfig(series="7.2-own")
    assert kernel.find(config) is None
    monkeypatch.setattr(source, "known", lambda *_: "7.2.12-1")
    assert kernel.find(config) is None
    identity = own._identity(config, "7.2.12-1", FakeTree())  # type: ignore[arg-type]
    entry = cache.folder("kernels", f"own-{identity}")
    entry.mkdir(parents=True)
    (entry / "release").write_text("7.2.0-mine\n")
    found = kernel.find(config)
    assert found is not None
    assert found.release == "7.2.0-mine"
    assert kernel.find(KernelConfig(series="7.2-own", debug=True)) is None


def test_a_modules_needs_come_with_it(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    made = {
        "net/virtio_net.ko.xz": b"\0depends=net_failover\0",
        "net/net_failover.ko": b"x\0depends=failover\0",
        "net/failover.ko": b"\0depends=\0",
        "net/other.ko": b"",
    }
    for name, data in made.items():
        content = lzma.compress(data) if name.endswith(".xz") else data
        (tmp_path / name).write_bytes(content)
    found = kernel.select(tmp_path, ["virtio_net", "not_there"])
    assert [path.name for path in found] == ["failover.ko", "net_failover.ko", "virtio_net.ko.xz"]
    assert packed.module(found[2]) == made["net/virtio_net.ko.xz"]


def test_modules_are_those_that_kbuild_lists(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    for name in ("lib/test_hmm.ko", "lib/old.ko", "lib/stale.ko"):
        (tmp_path / name).touch()
    (tmp_path / "modules.order").write_text("lib/test_hmm.o\nlib/old.ko\nlib/gone.o\n")
    assert kernel.built_modules(tmp_path) == [
        tmp_path / "lib/old.ko",
        tmp_path / "lib/test_hmm.ko",
    ]


def test_a_kernel_without_modules_has_none(tmp_path: Path) -> None:
    assert kernel.built_modules(tmp_path) == []


def test_debug_and_cdm_are_built_from_source() -> None:
    assert KernelConfig().source is None
    for name, series in (("cdm", "7.2-own"), ("debug", "7.2-own"), ("6.1-cdm", "6.1-own")):
        found = NAMED[name].source
        assert found is not None
        assert found.name == series
    patched = KernelConfig(series="7.2", cdm=True)
    assert patched.source is NAMED["cdm"].source
    with pytest.raises(ValidationError, match=r"there is none of 7\.3; use one of 7\.2-own"):
        KernelConfig(series="7.3", cdm=True)


def test_every_series_has_the_patches_for_cdm_and_they_are_the_same_ones() -> None:
    names = set()
    for series in OWN:
        patches = own.patches(KernelConfig(series=series, cdm=True))
        assert {patch.parent.name for patch in patches} == {SERIES[series].version}
        assert own.patches(KernelConfig(series=series)) == []
        names.add(tuple(patch.name for patch in patches))
    assert len(names) == 1


@pytest.mark.parametrize("series", OWN)
def test_the_patches_can_be_read_in_one_sitting(series: str) -> None:
    patches = own.patches(KernelConfig(series=series, cdm=True))
    changed = 0
    for number, patch in enumerate(patches, 1):
        message, _, diff = patch.read_text().partition("\n---\n")
        subject, blank, *argument = message.splitlines()
        assert subject.startswith(f"Subject: [PATCH {number}/{len(patches)}] ")
        assert blank == ""
        assert len(argument) >= 5
        assert max(map(len, argument)) <= 75
        assert len(diff.splitlines()) < 150, patch.name
        changed += len(re.findall(r"^[-+](?![-+] )", diff, re.MULTILINE))
    assert changed < 500
