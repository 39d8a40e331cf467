"""`{command-line}`: the reference of the command line, from its parsers.

A section for each command: what it is, how it is called, its words and options, and what its
`--help` ends with. sphinx-argparse reads those ends as reStructuredText, which they are not: its
pages run examples together. So this is argparse's own text, in a frame.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from devmodel.cli import main


def commands(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Every command and its parser, in the order of `--help`."""
    (action,) = (item for item in top._actions if isinstance(item, argparse._SubParsersAction))
    return dict(action.choices)


def _block(text: str) -> list[str]:
    return ["```text", *text.rstrip().splitlines(), "```", ""]


def _text(text: str | None) -> list[str]:
    return [" ".join((text or "").split()), ""]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _words(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """How an argument is written."""
    formatter = parser._get_formatter()
    default = formatter._get_default_metavar_for_optional(action)
    if not action.option_strings:
        return formatter._metavar_formatter(action, action.dest)(1)[0]
    value = "" if action.nargs == 0 else " " + formatter._format_args(action, default)
    return ", ".join(f"{word}{value}" for word in action.option_strings)


def _arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    """A table of words and options."""
    shown = [
        item
        for item in parser._actions
        if item.help != argparse.SUPPRESS and not isinstance(item, argparse._HelpAction)
    ]
    if not shown:
        return
    yield from ("| argument | what it does |", "| --- | --- |")
    for action in shown:
        text = parser._get_formatter()._expand_help(action) if action.help else ""
        yield f"| `{_cell(_words(parser, action))}` | {_cell(text)} |"
    yield ""


def section(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """A command as Markdown."""
    yield from (f"## {name}", "", *_text(parser.description))
    yield from _block(parser.format_usage().removeprefix("usage: "))
    yield from _arguments(parser)
    if parser.epilog:
        yield from _block(parser.epilog)


class CommandLine(SphinxDirective):
    """The directive; it takes nothing."""

    option_spec: ClassVar[dict[str, object]] = {}

    def run(self) -> list[nodes.Node]:
        """The sections."""
        self.env.note_reread()
        top = main.parser()
        # All of it in sections: what stands outside of them would come behind them.
        lines = ["## devmodel", "", *_text(top.description), *_block(top.epilog or "")]
        for name, command in commands(top).items():
            lines += section(name, command)
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
