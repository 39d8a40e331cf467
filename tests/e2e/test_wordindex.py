"""The main job in a booted guest, on text that the tests know."""

import json

import pytest

from devmodel.experiment import corpus, demo
from devmodel.experiment.config import Text
from devmodel.experiment.job import Texts
from devmodel.machine import Machine, MachineConfig
from devmodel.progress import Reporter


@pytest.fixture(scope="session")
def texts() -> Texts:
    machines = {"private": MachineConfig.load("private")}
    return corpus.texts([Text.KERNEL_HEADERS], machines, Reporter())


@pytest.mark.timeout(300)
def test_the_word_index_is_right(vm: Machine, config: str, texts: Texts) -> None:
    stages: list[str] = []
    result = demo.word_index(vm, texts, stages.append)
    assert result.checked
    assert result.model == config
    counted = result.counted
    assert counted.device_faults > 0
    assert counted.tlb_hits > 0
    assert counted.bytes_to_device > 0
    assert stages == ["indexing", *(f"{p} done" for p in PHASES)]
    if config == "mirror":
        assert counted.pages_to_device == counted.pages_to_system == result.hbm_bytes_in_use == 0
    else:
        assert counted.pages_to_device > 100
        # Nothing is left there at the end: every page came back, by touch or by request.
        assert counted.pages_to_system == counted.pages_to_device
        assert result.hbm_bytes_in_use > 1 << 20


PHASES = ("build", "on touch", "changed", "there and back")


@pytest.mark.parametrize("config", ["private"], indirect=True)
def test_a_small_text(vm: Machine) -> None:
    vm.run("printf 'a b a c\\n' >/tmp/small").check()
    done = vm.run(["wordindex", "/tmp/small"]).check()
    result = json.loads(done.stdout)
    assert result["checked"] is True
    assert result["words"] == 3 + 500


@pytest.mark.parametrize("config", ["mirror"], indirect=True)
def test_without_a_text(vm: Machine) -> None:
    done = vm.run(["wordindex", "/no/such/text"])
    assert done.exit_code == 2
    assert done.stderr.strip() == "wordindex: /no/such/text: No such file or directory"
