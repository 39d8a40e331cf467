"""Kernels: keys of the cache, users' own trees, and what a .config must have."""

from pathlib import Path

import pytest

from devmodel.build import cache, command, kconfig, kernel, source
from devmodel.build.config import KernelConfig
from devmodel.build.series import SERIES
from devmodel.errors import BuildFailed, ConfigError, HostNotReady
from devmodel.progress import Reporter

QUIET = Reporter(quiet=True)


def config_text(without: str = "") -> str:
    names = [name for name in kconfig.REQUIRED if name != without]
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
        "pages); merge guest/kernel/base.config into it and build it again"
    )


def test_every_missing_option_is_named(tmp_path: Path) -> None:
    path = tmp_path / ".config"
    path.write_text("CONFIG_PCI_MSI=m\n")
    with pytest.raises(ConfigError) as caught:
        kconfig.check(path)
    for name in kconfig.REQUIRED:
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


def test_the_fragments_have_what_is_required() -> None:
    options = kconfig.read(kernel.FRAGMENTS / "base.config")
    # Selected by TEST_HMM, and not to be asked for.
    selected = {"HMM_MIRROR"}
    assert {name for name in kconfig.REQUIRED if options.get(name) != "y"} == selected
    assert options["TEST_HMM"] == "m"


def test_a_debug_kernel_is_another_kernel() -> None:
    plain, debug = (kernel.fragments(KernelConfig(debug=flag)) for flag in (False, True))
    assert [path.name for path in plain] == ["base.config"]
    assert [path.name for path in debug] == ["base.config", "debug.config"]


def test_no_compiler_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostNotReady, match="apt-get install gcc"):
        kernel.compiler_version()


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
    monkeypatch.setattr(source, "INSTALLED", tmp_path)
    config = KernelConfig(series="7.2")
    assert kernel.find(config) is None
    (tmp_path / "linux-source-7.2.tar.xz").write_text("a tarball")
    assert kernel.find(config) is None
    tarball = source.present(SERIES["7.2"])
    assert tarball is not None
    entry = cache.folder("kernels", kernel._identity(config, tarball))
    entry.mkdir(parents=True)
    (entry / "release").write_text("7.2.0-mine\n")
    found = kernel.find(config)
    assert found is not None
    assert found.release == "7.2.0-mine"
    assert kernel.find(KernelConfig(series="7.2", debug=True)) is None


def test_every_series_has_the_patch_for_cdm() -> None:
    for series in SERIES:
        (patch,) = kernel.patches(KernelConfig(series=series, cdm=True))
        assert patch.parent.name == series
        assert kernel.patches(KernelConfig(series=series)) == []


def test_the_patch_is_one_that_can_be_read() -> None:
    for series in SERIES:
        (patch,) = kernel.patches(KernelConfig(series=series, cdm=True))
        lines = patch.read_text().splitlines()
        assert lines[0].startswith("Subject: [PATCH] ")
        assert len(lines) < 400
