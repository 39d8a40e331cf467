"""How pages are read and run (tests/e2e/pages.py): what does not hold is seen."""

from pathlib import Path

import pages
import pytest

PAGE = """\
# A page
```sh
# hello.sh
echo hello $1
```

```sh
# a comment, and no file
```

```console
$ sh hello.sh \\
> world
hello ...
$ echo said >&2
said
```

% not run by tests: it would break
```console
$ false
```

% exits with 3
```console
$ exit 3
```

```console
$ true
```
"""


def run(text: str, folder: Path) -> None:
    page = folder / "page.md"
    page.write_text(text)
    pages.run(page, pages.parse(text), folder, 10)


def test_what_is_in_a_page() -> None:
    found = list(pages.parse(PAGE))
    assert found == [
        pages.File(3, "hello.sh", "# hello.sh\necho hello $1\n"),
        pages.Command(12, "sh hello.sh \\\nworld", "hello ...\n"),
        pages.Command(15, "echo said >&2", "said\n"),
        pages.Command(21, "false", "", skip="it would break"),
        pages.Command(26, "exit 3", "", exit_code=3),
        pages.Command(30, "true", ""),
    ]


def test_a_page_that_holds(tmp_path: Path) -> None:
    run(PAGE, tmp_path)


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("hello ...", "goodbye ...", r"page.md:12: \$ sh hello.sh (?s:.*)hello world"),
        ("$ true", "$ false", r"page.md:30: \$ false\nended with 1"),
        ("$ exit 3", "$ exit 4", "ended with 4"),
        ("echo hello", "echo hell", "page.md:12"),
    ],
)
def test_what_does_not_hold_is_named(was: str, becomes: str, message: str, tmp_path: Path) -> None:
    assert was in PAGE
    with pytest.raises(pages.PageError, match=message):
        run(PAGE.replace(was, becomes), tmp_path)


@pytest.mark.parametrize("expected", ["hello world", "hello ... world", "hello\n...", "...world"])
def test_dots_stand_for_anything(expected: str, tmp_path: Path) -> None:
    run(PAGE.replace("hello ...", expected), tmp_path)


def test_output_before_a_command() -> None:
    with pytest.raises(pages.PageError, match="line 2: output before any command"):
        list(pages.parse("```console\nready\n```\n"))
