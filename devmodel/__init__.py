"""devmodel: heterogeneous memory you can boot."""

__version__ = "0.1.0"
