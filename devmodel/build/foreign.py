"""A kernel that somebody else built: an image, and its modules, configuration and headers.

Where they are is looked for as distributions and `make modules_install` have them::

    vmlinuz-RELEASE config-RELEASE      the image, and its configuration beside it
    lib/modules/RELEASE                 beside the image, one folder up, or what is named
    lib/modules/RELEASE/build           what external modules are built against
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devmodel.build import bzimage, cache, packed
from devmodel.errors import ConfigError, KernelUnfit

# kernel/configs.c: a .config between two marks, packed.
CONFIG_BEGIN, CONFIG_END = b"IKCFG_ST", b"IKCFG_ED"


@dataclass(frozen=True)
class Parts:
    """What belongs to an image."""

    release: str
    modules: Path
    """lib/modules/RELEASE"""
    build: Path
    config: Path


def find(image: Path, folder: Path | None) -> Parts:
    """What belongs to `image`; its modules are in `folder`, if that is given.

    ConfigError for what is no kernel image, or a part that is missing.
    """
    data = image.read_bytes()
    name = release(image, data)
    modules = _modules(image, folder, name)
    build = next((path for path in _builds(modules, name) if (path / "Makefile").is_file()), None)
    if build is None:
        looked = ", ".join(map(str, _builds(modules, name)))
        raise ConfigError(
            f"{image}: no build tree or headers of {name} to build the driver against: {looked}",
            hint=f"install linux-headers-{name}, or link {modules}/build to its build tree",
        )
    return Parts(name, modules, build.resolve(), _config(image, modules, build, name, data))


def release(image: Path, data: bytes) -> str:
    """What `uname -r` says of an image. ConfigError if it is none."""
    if not bzimage.is_one(data):
        raise ConfigError(
            f"{image} is no kernel image for x86", hint="name a bzImage (vmlinuz), or a tree"
        )
    return bzimage.release(data)


def own_config(data: bytes) -> str | None:
    """The configuration that an image has in itself (CONFIG_IKCONFIG), if it does."""
    kernel = packed.unpack(bzimage.payload(data))
    at = kernel.find(CONFIG_BEGIN)
    if at < 0:
        return None
    part = kernel[at + len(CONFIG_BEGIN) : kernel.find(CONFIG_END, at)]
    return zlib.decompressobj(wbits=31).decompress(part).decode(errors="replace")


def _modules(image: Path, folder: Path | None, name: str) -> Path:
    bases = [folder] if folder is not None else [image.parent, image.parent.parent]
    for base in bases:
        for part in (f"lib/modules/{name}", f"usr/lib/modules/{name}", f"modules/{name}", name, ""):
            path = base / part
            if (path / "kernel").is_dir() and path.resolve().name == name:
                return path
    where = " and ".join(map(str, bases))
    raise ConfigError(
        f"{image}: no modules of {name} in {where}",
        hint="name a folder that has lib/modules, or is it, with --modules DIR",
    )


def _builds(modules: Path, name: str) -> Iterator[Path]:
    yield modules / "build"
    # As distributions have it, unpacked elsewhere too.
    yield modules.resolve().parents[2] / "src" / f"linux-headers-{name}"
    yield Path("/usr/src") / f"linux-headers-{name}"


def _config(image: Path, modules: Path, build: Path, name: str, data: bytes) -> Path:
    for path in (
        image.with_name(f"config-{name}"),
        image.with_name("config"),
        modules / "config",
        build / ".config",
    ):
        if path.is_file():
            return path
    text = own_config(data)
    if text is None:
        raise KernelUnfit(
            f"{image}: its configuration is nowhere", hint=f"put it beside, as config-{name}"
        )
    entry = cache.folder("work", f"image-{cache.key(config=text)}")
    entry.mkdir(parents=True, exist_ok=True)
    cache.write(entry / "config", text)
    return entry / "config"
