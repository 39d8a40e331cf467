"""The guest image: an initramfs with busybox, an SSH server, the driver and the tools.

What all VMs of a kernel share is built once, uncompressed (unpacking costs the guest more than
the host's page cache does). What belongs to one VM (keys, parameters) is a second, tiny archive
behind it: the kernel unpacks both, one over the other.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from devmodel import paths
from devmodel.build import cache, packed
from devmodel.build.cpio import Archive
from devmodel.build.kernel import Kernel
from devmodel.build.tree import Tree
from devmodel.errors import BuildFailed
from devmodel.progress import Reporter

FILES = paths.GUEST / "image"
FOLDERS = ("dev", "proc", "sys", "tmp", "run", "mnt", "var/log", "etc", "root", "lib/modules")
# What /init loads where it is no part of the kernel: the network, and something to swap to.
LOADED = ("virtio_net", "virtio_rng", "loop", "brd")


def obtain(
    kernel: Kernel, driver: Path | None, programs: Sequence[Path], tools: Tree, reporter: Reporter
) -> Path:
    """The shared image for this kernel, driver and these programs, built if it must be."""
    shipped = cache.tree_files(FILES)

    def build(target: Path) -> None:
        with reporter.step("packing the guest image", 3) as step:
            archive = _base(tools)
            step.advance()
            _add_modules(archive, kernel, driver, tools, target)
            step.advance()
            for path in programs:
                archive.file(f"usr/bin/{path.name}", path.read_bytes(), 0o755)
            for path in shipped:
                _add_shipped(archive, path)
            (target / "initramfs.cpio").write_bytes(archive.pack())

    wanted = name(kernel, driver, programs, tools)
    return cache.obtain("images", wanted, build, on_wait=reporter.note) / "initramfs.cpio"


def name(kernel: Kernel, driver: Path | None, programs: Sequence[Path], tools: Tree) -> str:
    """What the image of these is called in the cache."""
    shipped = cache.tree_files(FILES)
    return cache.key(
        kernel=kernel.identity,
        driver=cache.hash_files([driver], driver.parent) if driver else "",
        files=[cache.hash_files([path], path.parent) for path in (*programs, *shipped)],
        names=[str(path.relative_to(FILES)) for path in shipped],
        tools=tools.lock.digest,
        layout=3,
    )


def shared_libraries(tools: Tree, program: str) -> dict[str, Path]:
    """The libraries and the loader that /usr/PROGRAM of the tree wants: name in the guest → file.

    BuildFailed if the loader cannot read it.
    """
    loader, *options, path = tools.native(program)
    done = subprocess.run(
        [loader, "--list", *options, path], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildFailed(
            f"{path}: its libraries cannot be told",
            hint="devmodel build --update",
            details=done.stderr,
        )
    found = {"lib64/ld-linux-x86-64.so.2": Path(loader)}
    for match in re.finditer(r"=> (/\S+) \(0x", done.stdout):
        found[f"lib/{Path(match[1]).name}"] = Path(match[1])
    return found


def _base(tools: Tree) -> Archive:
    archive = Archive()
    for folder in FOLDERS:
        archive.folder(folder)
    archive.folder("tmp", 0o1777)
    archive.folder("root", 0o700)
    # The console must be there before devtmpfs is: /init's own output goes to it.
    archive.character_device("dev/console", 5, 1)
    busybox = tools.file("bin/busybox")
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    applets = subprocess.run([busybox, "--list-full"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if applet not in ("bin/busybox", "linuxrc"):
            # Relative: where the root is another, the image is a folder in it.
            archive.symlink(applet, f"{'../' * applet.count('/')}bin/busybox")
    archive.file("usr/sbin/dropbear", tools.file("sbin/dropbear").read_bytes(), 0o755)
    for place, library in shared_libraries(tools, "sbin/dropbear").items():
        archive.file(place, library.read_bytes(), 0o755)
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\n")
    archive.file("etc/shells", b"/bin/sh\n")
    return archive


def _add_modules(
    archive: Archive, kernel: Kernel, driver: Path | None, tools: Tree, target: Path
) -> None:
    """The modules, flat and unpacked, with the indexes that modprobe wants."""
    folder = target / "modules/lib/modules" / kernel.release
    folder.mkdir(parents=True)
    for path in (*kernel.modules, *([driver] if driver else [])):
        (folder / f"{path.name.partition('.ko')[0]}.ko").write_bytes(packed.module(path))
    for index in ("modules.order", "modules.builtin"):
        (folder / index).touch()
    base = target / "modules"
    tools.run(["depmod", "-b", base, kernel.release], what="module index", log=target / "log")
    there = {path.stem.replace("-", "_") for path in folder.glob("*.ko")}
    loaded = [module for module in LOADED if module in there]
    archive.file("etc/modules", "".join(f"{module}\n" for module in loaded).encode())
    for path in sorted(folder.iterdir()):
        archive.file(f"lib/modules/{kernel.release}/{path.name}", path.read_bytes())
    shutil.rmtree(base)


def _add_shipped(archive: Archive, path: Path) -> None:
    """A file of guest/image: `init` goes to the top, the rest where its folder says."""
    place = str(path.relative_to(FILES))
    text = path.read_bytes()
    archive.file(place, text, 0o755 if text.startswith(b"#!") else 0o644)
