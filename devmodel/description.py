"""What all parts of a machine's description have in common.

A part is a frozen object, made from YAML and checked once; it travels to other processes as JSON.
"""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from devmodel import sizes

Size = Annotated[int, BeforeValidator(sizes.parse)]
"""Bytes, written as people write them: 256M"""


class Strict(BaseModel):
    """A part of a description: no unknown keys, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)
