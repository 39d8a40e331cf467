"""`devmodel report`: results that anybody may have written, as a page that loads nothing."""

import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from test_results import ROW

from devmodel.cli.main import main
from devmodel.experiment.report import figures, pictures, saved

MODELS = ("mirror", "private")
RISES = [0.0, 0.25, 0.5]


def row(model: str, workload: str = "kv", **changes: object) -> dict[str, Any]:
    more = {"device_lost": "kept", "policy": "in_place", "run": 1, "exit_code": 0, "why": ""}
    return {**ROW, **more, "model": model, "workload": workload, **changes}


def samples(model: str, workload: str = "kv", **changes: object) -> dict[str, Any]:
    columns: dict[str, object] = {
        "seconds": RISES,
        "resident_bytes": [0, 4 << 20, 0],
        "hbm_bytes_in_use": [0, 1 << 20, 0],
        "device_faults": [0, 3, 8],
    }
    return {"model": model, "workload": workload, "run": 1, **columns, **changes}


def results(*rows: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"results": list(rows or map(row, MODELS)), "samples": [], **more}


MADE = {
    "command": ["devmodel", "compare", "a b", "--json"],
    "written": "2026-01-02T03:04:05+00:00",
    "devmodel": "9.8.7",
    "host": {"system": "Linux 6.1", "processor": "An x86", "memory_bytes": 1 << 30},
    "experiment": {"show": ["device_faults"], "workloads": [{"name": "kv", "what": "a hot set"}]},
    "machines": {"private": {"kernel": "7.2.1", "qemu": "11.0", "accelerator": "tcg"}},
}


class Page(HTMLParser):
    """What a page is made of."""

    VOID = ("meta", "img", "source", "br", "link", "!doctype")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.style = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.words += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def report(tmp_path: Path, *data: object, code: int = 0, options: tuple[str, ...] = ()) -> Page:
    """The page of these files of results."""
    files = []
    for number, one in enumerate(data):
        file = tmp_path / f"results{number}.json"
        file.write_text(json.dumps(one))
        files.append(str(file))
    assert main(["report", *files, *options]) == code
    return Page((tmp_path / "results0.html").read_text())


def loads_nothing(page: Page) -> None:
    """Every address in it holds what it stands for, or is within the page."""
    assert {tag for tag, _ in page.tags}.isdisjoint(
        {"script", "link", "iframe", "object", "embed", "base", "form", "style/"}
    )
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "srcset"):
                assert value is not None and value.startswith("data:image/svg+xml;base64,")
            elif name == "href":
                assert value is not None and value.startswith("#")
            elif value is not None:
                assert "://" not in value, (tag, name)
    assert "url(" not in page.style and "@import" not in page.style
    (policy,) = [
        meta["content"]
        for meta in page.of("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None and policy.startswith("default-src 'none';")
    assert "img-src data:;" in policy


def test_a_page_of_everything(tmp_path: Path) -> None:
    data = results(samples=[samples(model) for model in MODELS], made=MADE)
    page = report(tmp_path, data)
    loads_nothing(page)
    assert page.open == []
    for words in (
        *("2 of 2 runs are right", "a hot set", "9.8.7", "An x86", "1,024 MiB", "7.2.1"),
        "devmodel compare 'a b' --json",
        *("How long did it take?", "Who faulted, and how often?", "Where did pages lie?"),
        *("12.5", "1,234,567", "4,096", "8 (0.5 s)"),
    ):
        assert words in page.words, words
    # What nobody asked to be shown.
    assert "crossed the link" not in page.words
    # Each picture light and dark, wide and narrow.
    images = page.of("img")
    assert len(images) == 5
    assert len(page.of("source")) == 3 * len(images)
    assert all(image["alt"] and "mirror, private" in image["alt"] for image in images)


def test_what_is_hostile_is_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    made = {
        **MADE,
        "command": [evil, '"><img src=http://a.example/x onerror=alert(1)>'],
        "devmodel": evil,
        "machines": {evil: {"kernel": evil, "config": {evil: [evil]}}},
    }
    wrong = row("private", evil, checked=False, why=evil)
    page = report(tmp_path, results(row(evil, evil), wrong, made=made), code=1)
    loads_nothing(page)
    assert page.open == []
    assert page.words.count(evil) >= 8


def test_a_hostile_name_in_a_picture(tmp_path: Path) -> None:
    data = results(row("private", "</svg><script>x</script>&"))
    (tmp_path / "a.json").write_text(json.dumps(data))
    _, found = pictures.of([saved.load(tmp_path / "a.json")])
    (drawn, *_) = [figure.picture.svg() for figure in found if figure.picture]
    tree = ElementTree.fromstring(drawn)
    assert not [node for node in tree.iter() if node.tag.endswith("script")]
    assert any(node.text == "</svg><script>x</script>&" for node in tree.iter())


def test_what_is_not_right_is_named_and_not_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = row("private", checked=False, why="ended with 1\x1b[31m, not 0", wall_seconds=99.0)
    page = report(tmp_path, results(row("mirror"), wrong), code=1)
    said = capsys.readouterr().err
    assert "private: kv: ended with 1 [31m, not 0" in said
    assert "1 of 2 runs are right" in page.words
    assert "99" not in page.words
    (time, *_) = page.of("img")
    assert time["alt"] is not None and "private" not in time["alt"]


def test_results_from_before_there_were_samples(tmp_path: Path) -> None:
    page = report(tmp_path, {"results": [row("private")]})
    loads_nothing(page)
    assert "an older devmodel wrote them" in page.words
    assert "not known: the results do not say" in page.words


def test_no_run_is_right(tmp_path: Path) -> None:
    page = report(tmp_path, results(row("private", checked=False, why="killed")), code=1)
    assert page.of("img") == []
    assert "killed" in page.words


def test_repeats_are_one_bar(tmp_path: Path) -> None:
    rows = [row("private", run=run, wall_seconds=float(run)) for run in (1, 2, 9)]
    page = report(tmp_path, results(*rows))
    assert "lines reach from the least to the most" in page.words
    assert "3 of 3" in page.words


def test_two_files_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    page = report(tmp_path, results(row("private")), results(row("private", policy="on_touch")))
    (time, *_) = page.of("img")
    assert time["alt"] is not None and "private, in_place, private, on_touch" in time["alt"]
    # Nothing differs but the file.
    page = report(tmp_path, results(row("private")), results(row("private")))
    (time, *_) = page.of("img")
    assert time["alt"] is not None and "private, results0, private, results1" in time["alt"]


def test_spill(tmp_path: Path) -> None:
    none = report(tmp_path, results(row("private", spilled_pages=0)))
    assert "There were none, under any model." in none.words
    untold = report(tmp_path, results(row("private", pages=0)))
    assert "No program looked for pages of others" in untold.words


def test_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures"
    report(tmp_path, results(), options=("--pictures", str(folder), "--json"))
    said = json.loads(capsys.readouterr().out)
    assert sorted(said["pictures"]) == sorted(map(str, folder.iterdir()))
    assert said["report"] == str(tmp_path / "results0.html")
    assert (said["runs"], said["wrong"]) == (2, [])
    for file in folder.glob("*.svg"):
        assert ElementTree.parse(file).getroot().tag.endswith("svg")
        assert not re.search(r'(href|src)="http', file.read_text())
        assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("values", "logarithmic"), [((1.0, 500.0), False), ((1.0, 5000.0), True), ((0.0, 5.0), False)]
)
def test_a_scale_is_logarithmic_where_it_matters(
    values: tuple[float, float], logarithmic: bool
) -> None:
    rows = [row(model, wall_seconds=value) for model, value in zip(MODELS, values, strict=True)]
    _, found = pictures.of([saved.parse(results(*rows), "a")])
    assert found[0].picture is not None
    assert ("logarithmic" in found[0].picture.svg()) is logarithmic


def test_from_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = io.BytesIO(json.dumps(results()).encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
    target = tmp_path / "page.html"
    assert main(["report", "-", "-o", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert target.exists()


def deep() -> str:
    return '{"results": ' + "[" * 100_000 + "]" * 100_000 + "}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("\0\xff", "not JSON"),
        (deep(), "not JSON"),
        ("[]", 'no object with "results"'),
        ('{"results": []}', "it has no results"),
        ('{"results": [1]}', "results[0]: not an object"),
        (json.dumps(results({**row("a"), "model": 3})), "results[0].model: missing, or no name"),
        (json.dumps(results(row("a\nb"))), "results[0].model: missing, or no name"),
        (json.dumps(results(row("a" * 101))), "results[0].model: missing, or no name"),
        (json.dumps(results(row("a", checked="yes"))), "results[0].checked: missing, or not"),
        (json.dumps(results(row("a", pages="3"))), "results[0]: pages is '3', not a int"),
        (json.dumps(results(row("a", wall_seconds=-1.0))), "results[0].wall_seconds: -1.0 cannot"),
        (json.dumps(results(row("a", tlb_hits=1 << 64))), "results[0].tlb_hits: 1844674407370955"),
        (json.dumps(results(row("a", wall_seconds=float("nan")))), "NaN is no number"),
        (json.dumps(results(row("a", run=0))), "results[0].run: '0' is no number from 1 on"),
        (json.dumps(results(samples=3)), "samples: not a list"),
        (json.dumps(results(samples=[samples("a", seconds=[1, 0, 2])])), "time goes back"),
        (json.dumps(results(samples=[samples("a", device_faults=[1])])), "different lengths"),
        (json.dumps(results(samples=[samples("a", device_faults="1")])), "no list of numbers"),
    ],
)
def test_what_is_no_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, why: str
) -> None:
    file = tmp_path / "a.json"
    file.write_text(text, encoding="latin-1")
    assert main(["report", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert why in line
    assert line.endswith("write one with `devmodel compare --json`")
    assert not file.with_suffix(".html").exists()


def test_files_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.json"
    assert main(["report", str(file)]) == 2
    assert "No such file" in capsys.readouterr().err
    file.write_text(json.dumps(results()))
    assert main(["report", str(file), "-o", str(tmp_path / "no" / "a.html")]) == 2
    assert "no folder" in capsys.readouterr().err
    assert main(["report", str(file), str(file)]) == 2
    assert "the same results twice" in capsys.readouterr().err
    page = file.rename(tmp_path / "a.html")
    assert main(["report", str(page)]) == 2
    assert "would be written over" in capsys.readouterr().err


def test_every_unit_has_a_question() -> None:
    """Of counters that are shown by default, none is asked for by its unit's bare name."""
    _, found = pictures.of([saved.parse(results(), "a")])
    keys = [figure.key for figure in found]
    assert keys == ["time", "faults", "pages", "bytes", "commands", "places", "moves", "spill"]
    assert all(unit.value for unit in figures.QUESTIONS)
