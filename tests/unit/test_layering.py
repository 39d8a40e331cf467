"""Imports go right only: testing, cli, experiment, machine, build, agent, link, device, abi."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import devmodel
from devmodel import link

PACKAGE = Path(devmodel.__file__).parent
LAYERS = ("testing", "cli", "experiment", "machine", "build", "agent", "link", "device", "abi")
# What all may import; they import nothing but each other.
COMMON = ("description", "errors", "interpreter", "paths", "progress", "sizes", "terminal")
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    """Every module that is imported, wherever in the file; relative imports as ``.``."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                found.add(".")
            module = node.module or ""
            # `from devmodel import cli` names the layer in the imported name.
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def layer(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "devmodel" and len(parts) > 1 else None


def violations(owner: str, source: str) -> list[str]:
    """What a file of the layer `owner` may not import."""
    wrong = []
    for module in sorted(imported(ast.parse(source))):
        if module == ".":
            wrong.append("a relative import")
        other = layer(module)
        if other in LAYERS and LAYERS.index(other) < LAYERS.index(owner):
            wrong.append(module)
    return wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_to_the_right(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    if len(parts) == 1:
        assert path.stem in (*COMMON, "__init__"), f"{path.stem} belongs into a layer"
        assert all(layer(module) not in LAYERS for module in imported(ast.parse(path.read_text())))
        return
    assert parts[0] in LAYERS, f"{parts[0]} is no layer"
    assert violations(parts[0], path.read_text()) == []


# What all may use of the link; the rest is a transport's own.
SEAM = ("devmodel.link", "devmodel.link.memory")
# The abi is what a driver is compiled with: it has the registers of every transport.
BEHIND = re.compile("ivshmem|doorbell|eventfd", re.IGNORECASE)


def behind_the_seam(source: str) -> list[str]:
    """What source outside of the link has of a transport: words, or modules."""
    found = BEHIND.findall(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("devmodel.link"):
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = whole if node.module == "devmodel.link" else [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("devmodel.link")]
        else:
            continue
        found += [name for name in names if not is_seam(name)]
    return found


def is_seam(name: str) -> bool:
    """Whether it is the link's face, what that offers, or the memory that both sides share."""
    package, _, offered = name.rpartition(".")
    return name in SEAM or (package == "devmodel.link" and offered in link.__all__)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_link_knows_its_transports(path: Path) -> None:
    if path.relative_to(PACKAGE).parts[0] not in ("link", "abi"):
        assert behind_the_seam(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("from devmodel.link import DEFAULT, Endpoint, memory", []),
        ("from devmodel import link\nfrom devmodel.link.memory import Bytes", []),
        ("from devmodel.link import rammap", ["devmodel.link.rammap"]),
        ("from devmodel.link.rammap import q35", ["devmodel.link.rammap"]),
        ("import devmodel.link.greeting", ["devmodel.link.greeting"]),
        ("def f():\n    from devmodel.link import rammap", ["devmodel.link.rammap"]),
        ("import os\nos.eventfd(0)", ["eventfd"]),
        ("LINE = 'Ivshmem-plain'", ["Ivshmem"]),
    ],
)
def test_the_seam_is_seen(source: str, wrong: list[str]) -> None:
    assert behind_the_seam(source) == wrong


def canonical(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(lines: list[str]) -> set[str]:
    return {canonical(re.split(r"[<>=~!\[; ]", line)[0]) for line in lines}


@pytest.mark.parametrize("extra", ["dask", "pytest"])
def test_what_is_imported_is_declared(extra: str) -> None:
    """And what is declared is imported: of the run-time dependencies, each way.

    What an extra names is needed by its users alone; pytest by nobody but what it imports itself.
    """
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    known = declared(project["dependencies"])
    optional = declared(project["optional-dependencies"][extra])
    owners = metadata.packages_distributions()
    needed = set()
    for path in FILES:
        if (path.relative_to(PACKAGE).parts[0] == "testing") != (extra == "pytest"):
            continue
        for module in imported(ast.parse(path.read_text())):
            top = module.split(".")[0]
            if top not in sys.stdlib_module_names and top != "devmodel":
                assert top in owners, f"{path} imports {top}, which is not installed"
                # Of those that share a namespace, the one that is declared.
                names = {canonical(name) for name in owners[top]}
                needed |= (names & known) or names
    assert needed - known == optional
    assert extra == "pytest" or needed - optional == known


def test_abi_needs_the_standard_library_only() -> None:
    for path in sorted((PACKAGE / "abi").glob("*.py")):
        for module in imported(ast.parse(path.read_text())):
            top = module.split(".")[0]
            assert top in sys.stdlib_module_names or module.startswith("devmodel.abi"), path


@pytest.mark.parametrize(
    ("owner", "source", "wrong"),
    [
        ("link", "from devmodel.device.ring import Ring", []),
        ("link", "import devmodel.machine.qemu", ["devmodel.machine.qemu"]),
        ("abi", "from devmodel import cli", ["devmodel.cli"]),
        ("testing", "from devmodel.cli import options", []),
        ("cli", "from devmodel.testing import pool", ["devmodel.testing.pool"]),
        ("device", "def f():\n    from devmodel.link import x", ["devmodel.link.x"]),
        ("agent", "from . import loop", ["a relative import"]),
    ],
)
def test_the_rule_sees_what_it_should(owner: str, source: str, wrong: list[str]) -> None:
    assert violations(owner, source) == wrong
