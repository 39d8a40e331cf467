"""What an experiment varies: the values of each axis, and their places in arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, StrictInt, StrictStr, field_validator

from devmodel.build.config import NAMED, located
from devmodel.description import Size, Strict
from devmodel.machine.config import Policy

MOST_CELLS = 10_000
# A table has them as 64-bit numbers.
MOST = (1 << 63) - 1
# What an argument may hold; of these `size` and `seed` are there if the sweep has them.
PLACES = ("model", "kernel", "policy", "size", "seed")
_PLACE = re.compile(r"\{(" + "|".join(PLACES) + r")\}")


def _count_or_list(value: object) -> object:
    """`seeds: 3` is 1, 2 and 3."""
    if type(value) is not int:
        return value
    if not 1 <= value <= MOST_CELLS:
        raise ValueError(f"{value} seeds are not possible; use 1 to {MOST_CELLS}, or a list")
    return list(range(1, value + 1))


class Axes(Strict):
    """The axes beside models and workloads. One that is empty varies nothing."""

    kernels: tuple[StrictStr, ...] = ()
    """names of `devmodel kernels`, or paths of kernel trees"""
    sizes: tuple[Size, ...] = ()
    policies: tuple[Policy, ...] = ()
    seeds: Annotated[tuple[StrictInt, ...], BeforeValidator(_count_or_list)] = ()

    @field_validator("kernels", "policies", "sizes", "seeds")
    @classmethod
    def _once_each(cls, value: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("kernels")
    @classmethod
    def _kernels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in NAMED and "/" not in name:
                raise ValueError(
                    f"{name!r} is not known; use one of {', '.join(NAMED)}, or a tree as ./{name}"
                )
        return value

    @field_validator("sizes", "seeds")
    @classmethod
    def _numbers(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        for number in value:
            if not 0 <= number <= MOST:
                raise ValueError(f"{number} is not possible; use 0 to {MOST}")
        return value

    def resolved(self, base: Path) -> Axes:
        """A copy whose kernel trees are taken from the folder `base`."""
        kernels = (located(name, base) for name in self.kernels)
        return self.model_copy(update={"kernels": tuple(kernels)})

    def check(self, name: str, words: Sequence[str]) -> None:
        """ValueError if a word of the workload `name` has a place that no axis fills."""
        for place, values in (("size", self.sizes), ("seed", self.seeds)):
            if not values and any(f"{{{place}}}" in word for word in words):
                raise ValueError(
                    f"{name} has {{{place}}}, and sweep no {place}s; add some like "
                    f"`{place}s: [{'64K, 1M' if place == 'size' else '1, 2, 3'}]`"
                )

    def unused(self, words: Sequence[str]) -> list[str]:
        """The axes that a workload of these words knows nothing of, by their keys."""
        given = {"size": self.sizes, "seed": self.seeds}
        return [
            f"{place}s"
            for place, values in given.items()
            if len(values) > 1 and not any(f"{{{place}}}" in word for word in words)
        ]


def filled(words: Sequence[str], values: Mapping[str, object]) -> tuple[str, ...]:
    """The words with each of `values` in its place; other braces stay as they are."""

    def value(match: re.Match[str]) -> str:
        found = values.get(match[1])
        return match[0] if found is None else str(found)

    return tuple(_PLACE.sub(value, word) for word in words)
