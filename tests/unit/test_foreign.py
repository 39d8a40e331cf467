"""Kernels that somebody else built: what belongs to an image, and where it is looked for."""

import gzip
import lzma
import struct
import subprocess
from pathlib import Path

import pytest

from devmodel.build import foreign, packed, stock, tree
from devmodel.build.config import KernelConfig, of_path
from devmodel.build.kernel import obtain
from devmodel.errors import BuildFailed, ConfigError, KernelUnfit
from devmodel.progress import Reporter

QUIET = Reporter(quiet=True)
NAME = "7.2.0-theirs"


def image(path: Path, *, config: str | None = None, pack: str = "gz") -> Path:
    """A file with what is looked at of a bzImage: its version, and, packed, its configuration."""
    inside = b"code" * 100
    if config is not None:
        inside += b"IKCFG_ST" + gzip.compress(config.encode()) + b"IKCFG_ED" + b"more"
    payload = gzip.compress(inside) if pack == "gz" else lzma.compress(inside)
    data = bytearray(4 * 512)
    data[0x1F1] = 3
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x20E, 0x400)
    data[0x600 : 0x600 + 40] = f"{NAME} (x@y) #1 SMP".encode().ljust(40, b"\0")
    struct.pack_into("<II", data, 0x248, 16, len(payload) + 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(data) + bytes(16) + payload + b"size" + b"rest")
    return path


def modules(base: Path, *, build: bool = True) -> Path:
    folder = base / "lib/modules" / NAME
    (folder / "kernel").mkdir(parents=True)
    if build:
        (folder / "build").mkdir()
        (folder / "build/Makefile").touch()
    return folder


def test_what_lies_beside_an_image(tmp_path: Path) -> None:
    boot = image(tmp_path / "boot/vmlinuz-x")
    (tmp_path / "else/where").mkdir(parents=True)
    (tmp_path / "else/where/config").touch()
    (tmp_path / f"boot/config-{NAME}").write_text("CONFIG_X=y\n")
    folder = modules(tmp_path)
    found = foreign.find(boot, None)
    assert found == foreign.Parts(NAME, folder, folder / "build", tmp_path / f"boot/config-{NAME}")
    for named in (tmp_path, folder, folder.parent):
        assert foreign.find(image(tmp_path / "else/where/bzImage"), named).modules.samefile(folder)


@pytest.mark.parametrize("pack", ["gz", "xz"])
def test_an_image_may_have_its_configuration_in_itself(
    pack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVMODEL_CACHE", str(tmp_path / "cache"))
    modules(tmp_path)
    found = foreign.find(image(tmp_path / "bzImage", config="CONFIG_Y=y\n", pack=pack), None)
    assert found.config.read_text() == "CONFIG_Y=y\n"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no kernel" * 200)
    with pytest.raises(ConfigError, match="text is no kernel image for x86; name a bzImage"):
        foreign.find(tmp_path / "text", None)
    bare = image(tmp_path / "bzImage")
    with pytest.raises(ConfigError, match=rf"no modules of {NAME} in .*; name .* --modules DIR"):
        foreign.find(bare, None)
    folder = modules(tmp_path, build=False)
    with pytest.raises(ConfigError, match=rf"no build tree or headers of {NAME} .*linux-headers"):
        foreign.find(bare, None)
    (folder / "build").mkdir()
    (folder / "build/Makefile").touch()
    with pytest.raises(KernelUnfit, match=rf"its configuration is nowhere; .*config-{NAME}"):
        foreign.find(bare, None)


def test_an_image_without_an_option_is_refused_by_name(tmp_path: Path) -> None:
    modules(tmp_path)
    (tmp_path / "config").write_text("CONFIG_ZONE_DEVICE=y\n")
    config = KernelConfig(image=image(tmp_path / "bzImage"))
    with pytest.raises(KernelUnfit, match="config: this kernel lacks CONFIG_DEVICE_PRIVATE=y"):
        obtain(config, QUIET)


def test_which_kernel_a_path_is(tmp_path: Path) -> None:
    built = tmp_path / "linux"
    (built / "include/config").mkdir(parents=True)
    (built / "include/config/kernel.release").touch()
    inside = image(built / "arch/x86/boot/bzImage")
    alone = image(tmp_path / "bzImage")
    assert of_path(built) == of_path(inside) == KernelConfig(tree=built)
    assert of_path(alone) == KernelConfig(image=alone)
    assert of_path(inside, tmp_path) == KernelConfig(image=inside, modules=tmp_path)
    with pytest.raises(ConfigError, match="--modules"):
        of_path(built, tmp_path)


def test_what_is_packed_and_broken_is_an_error_and_what_is_not_is_itself() -> None:
    assert packed.unpack(b"\x7fELF") == b"\x7fELF"
    assert packed.unpack(gzip.compress(b"x") + b"after") == b"x"
    with pytest.raises(BuildFailed):
        packed.unpack(b"\xfd7zXZ\0" + b"no")


@pytest.mark.skipif(tree.find() is None, reason="the tools are not here")
def test_what_python_does_not_unpack_the_tools_do(tmp_path: Path) -> None:
    tools = tree.obtain(QUIET)
    for program in packed.PROGRAMS.values():
        source = tmp_path / "x"
        source.write_bytes(b"module" * 1000)
        # The kernel's lz4 is the old format.
        words = [*tools.native(f"bin/{program}"), *(["-l"] if program == "lz4" else []), "-c"]
        done = subprocess.run([*words, source], capture_output=True, check=True)
        assert packed.unpack(done.stdout + b"size") == b"module" * 1000


@pytest.mark.skipif(stock.find(None) is None, reason="there is no stock kernel here")
def test_a_distributions_kernel_as_an_image() -> None:
    found = stock.find(None)
    assert found is not None
    root = found.path / "root"
    kernel = obtain(KernelConfig(image=found.path / "bzImage", modules=root / "usr"), QUIET)
    assert kernel.release == found.release.uname
    assert {path.name.partition(".")[0] for path in kernel.modules} >= {"virtio_net", "overlay"}
