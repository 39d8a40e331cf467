"""The text for workloads: the same for the same source, of the size that was asked for."""

from pathlib import Path

import pytest

from devmodel.errors import BuildFailed
from devmodel.experiment import corpus


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, text in {"b.h": "bbbb", "a/z.h": "zz", "a.c": "no", "a/a.h": "aaa"}.items():
        path = tmp_path / "include" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "include"


@pytest.mark.parametrize(("size", "text"), [(9, "aaazzbbbb"), (4, "aaaz"), (3, "aaa"), (0, "")])
def test_in_order_and_cut(source: Path, tmp_path: Path, size: int, text: str) -> None:
    out = tmp_path / "out"
    corpus.corpus(source, out, size)
    assert out.read_text() == text


def test_too_little_text(source: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="only 9 bytes of text, 10 are wanted"):
        corpus.corpus(source, tmp_path / "out", 10)
