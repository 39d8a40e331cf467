"""How a table of ours looks in a terminal."""

from rich import box
from rich.table import Table


def table(title: str | None = None) -> Table:
    """One without columns, in as few characters as its cells need."""
    return Table(
        title=title,
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
    )
