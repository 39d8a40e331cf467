"""The demo's own logic, with machines that are none."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from rich.console import Console
from test_results import ROW

from devmodel.experiment import demo
from devmodel.machine.errors import GuestPanic, LaunchFailed
from devmodel.machine.shell import Result as Done

STDERR = b"""\
wordindex: 9 words in all, 5 different, 8 pairs, 12 KiB
wordindex: build: 0.10 s
wordindex: on touch: 1.00 s
"""


class FakeMachine:
    """Runs `wordindex` by printing what the test wants of that model."""

    outputs: ClassVar[dict[str, object]] = {}
    closed: ClassVar[list[str]] = []

    def __init__(self, config: SimpleNamespace) -> None:
        self.model = config.model
        self.folder = Path("/vms") / config.model

    @property
    def qemu_pid(self) -> int:
        raise RuntimeError("this machine is not running")

    def __enter__(self) -> "FakeMachine":
        if isinstance(output := self.outputs[self.model], LaunchFailed):
            raise output
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed.append(self.model)

    def put(self, source: Path, target: str) -> None:
        assert (source, target) == (Path("/corpus.txt"), demo.GUEST_TEXT)

    def run(self, command: list[str], *, timeout: float, stderr: Any) -> Done:
        assert command[0] == "wordindex" and timeout
        # Cut where no line ends.
        stderr.write(STDERR[:50])
        stderr.write(STDERR[50:])
        output = self.outputs[self.model]
        if isinstance(output, Exception):
            raise output
        assert isinstance(output, Done)
        return output


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "Machine", FakeMachine)
    monkeypatch.setattr(
        demo.MachineConfig, "load", lambda name: SimpleNamespace(model=name, kernel="kernel")
    )
    monkeypatch.setattr(demo.build, "build", lambda *_: None)
    monkeypatch.setattr(demo.corpus, "obtain", lambda *_: Path("/corpus.txt"))
    FakeMachine.closed = []
    FakeMachine.outputs = {
        model: Done(0, json.dumps({**ROW, "model": model}), "") for model in ("mirror", "private")
    }


def run(capsys: pytest.CaptureFixture[str], *, as_json: bool = False) -> tuple[int, str, str]:
    shown = io.StringIO()
    code = demo.run(["mirror", "private"], json=as_json, console=Console(file=shown, width=100))
    return code, capsys.readouterr().out, shown.getvalue()


def test_json_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, progress = run(capsys, as_json=True)
    assert code == 0
    assert json.loads(out) == {"results": [{**ROW, "model": "mirror"}, ROW]}
    assert "private: on touch done" in progress
    assert sorted(FakeMachine.closed) == ["mirror", "private"]


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys)
    assert code == 0
    assert out.index("mirror") < out.index("private")


def test_an_unchecked_result_is_shown_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    FakeMachine.outputs["mirror"] = Done(1, json.dumps({**ROW, "checked": False}), "")
    code, out, progress = run(capsys, as_json=True)
    assert code == 1
    assert json.loads(out)["results"][0]["checked"] is False
    assert "NOT checked" in progress


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (Done(139, "", ""), "ended with 139 and without a result: wordindex: on touch: 1.00 s"),
        (Done(3, json.dumps(ROW), ""), "ended with 3"),
        (LaunchFailed("no QEMU"), "no QEMU"),
        (GuestPanic("it panicked"), "it panicked"),
    ],
)
def test_a_job_without_a_result(
    capsys: pytest.CaptureFixture[str], output: object, why: str
) -> None:
    FakeMachine.outputs["private"] = output
    with pytest.raises(demo.DevmodelError, match=why):
        run(capsys)
    assert capsys.readouterr().out == ""
