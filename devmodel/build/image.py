"""The guest image: an initramfs with busybox, an SSH server, the driver and the tools.

What all VMs of a kernel share is built once, uncompressed (unpacking costs the guest more than
the host's page cache does). What belongs to one VM (keys, parameters) is a second, tiny archive
behind it: the kernel unpacks both, one over the other.
"""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from devmodel import paths
from devmodel.build import cache, command
from devmodel.build.cpio import Archive
from devmodel.build.kernel import Kernel
from devmodel.errors import HostNotReady
from devmodel.progress import Reporter

BUSYBOX = Path("/bin/busybox")
DROPBEAR = Path("/usr/sbin/dropbear")
FILES = paths.GUEST / "image"
FOLDERS = ("dev", "proc", "sys", "tmp", "run", "mnt", "var/log", "etc", "root", "lib/modules")


def obtain(
    kernel: Kernel, driver: Path | None, programs: Sequence[Path], reporter: Reporter
) -> Path:
    """The shared image for this kernel, driver and these programs, built if it must be."""
    for tool, package in ((BUSYBOX, "busybox-static"), (DROPBEAR, "dropbear-bin")):
        if not tool.is_file():
            raise HostNotReady(f"no {tool}", hint=f"apt-get install {package}")
    libraries = shared_libraries(DROPBEAR)
    kernel_modules = built_modules(kernel.build)
    shipped = cache.tree_files(FILES)
    hashed = [BUSYBOX, DROPBEAR, *libraries, *kernel_modules, *programs, *shipped]
    name = cache.key(
        release=kernel.release,
        driver=cache.hash_files([driver], driver.parent) if driver else "",
        files=[cache.hash_files([path], path.parent) for path in hashed],
        names=[str(path) for path in [*libraries, *shipped]],
        layout=1,
    )

    def build(target: Path) -> None:
        with reporter.step("packing the guest image", 3) as step:
            archive = _base(libraries)
            step.advance()
            _add_modules(archive, kernel.release, [*kernel_modules, *([driver] if driver else [])])
            step.advance()
            for path in programs:
                archive.file(f"usr/bin/{path.name}", path.read_bytes(), 0o755)
            for path in shipped:
                _add_shipped(archive, path)
            (target / "initramfs.cpio").write_bytes(archive.pack())

    return cache.obtain("images", name, build, on_wait=reporter.note) / "initramfs.cpio"


def built_modules(build: Path) -> list[Path]:
    """The modules of a kernel build, as kbuild lists them (.ko or .o, by the kernel's age)."""
    order = build / "modules.order"
    if not order.exists():
        return []
    names = [Path(line).with_suffix(".ko") for line in order.read_text().split()]
    return sorted(build / name for name in names if (build / name).exists())


def shared_libraries(program: Path) -> list[Path]:
    """The libraries and the loader that `program` wants, as ldd names them."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostNotReady(f"ldd {program} failed", hint="apt-get install libc-bin dropbear-bin")
    return [Path(match) for match in re.findall(r"(/\S+)(?= \(0x)", done.stdout)]


def _base(libraries: Sequence[Path]) -> Archive:
    archive = Archive()
    for folder in FOLDERS:
        archive.folder(folder)
    archive.folder("tmp", 0o1777)
    archive.folder("root", 0o700)
    # The console must be there before devtmpfs is: /init's own output goes to it.
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/busybox", BUSYBOX.read_bytes(), 0o755)
    applets = subprocess.run([BUSYBOX, "--list-full"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if applet not in ("bin/busybox", "linuxrc"):
            archive.symlink(applet, "/bin/busybox")
    archive.file("usr/sbin/dropbear", DROPBEAR.read_bytes(), 0o755)
    for library in libraries:
        archive.file(str(library), library.read_bytes(), 0o755)
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\n")
    archive.file("etc/shells", b"/bin/sh\n")
    return archive


def _add_modules(archive: Archive, release: str, files: Sequence[Path]) -> None:
    """The modules, flat, with the indexes that modprobe wants."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "lib/modules" / release
        folder.mkdir(parents=True)
        for path in files:
            (folder / path.name).write_bytes(path.read_bytes())
        for name in ("modules.order", "modules.builtin"):
            (folder / name).touch()
        log = Path(scratch) / "log"
        command.run(["depmod", "-b", scratch, release], what="module index", log=log)
        for path in sorted(folder.iterdir()):
            archive.file(f"lib/modules/{release}/{path.name}", path.read_bytes())


def _add_shipped(archive: Archive, path: Path) -> None:
    """A file of guest/image: `init` goes to the top, the rest where its folder says."""
    name = str(path.relative_to(FILES))
    text = path.read_bytes()
    archive.file(name, text, 0o755 if text.startswith(b"#!") else 0o644)
