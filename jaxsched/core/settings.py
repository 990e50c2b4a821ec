"""The settings of a problem: one frozen record, whose field names are the names that `make`
takes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from jaxsched.host.errors import UnknownNameError
from jaxsched.host.plain import field_names, make_plain


@dataclasses.dataclass(frozen=True)
class Settings(Mapping[str, Any]):
    """Base of the frozen dataclass of settings that a problem declares; also a mapping of its
    fields.

    `make(env.id, **env.settings) == env` holds for every environment. A scalar of NumPy or JAX is
    taken as the Python number it is. Raises `ValueError` where a value is not of the type that its
    field is annotated with, as far as that is made of bool, int, float, str and None.
    """

    def __post_init__(self):
        make_plain(self)

    def require_known(self, name: str, known: Collection[str]) -> None:
        """Raise `UnknownNameError` with the close matches unless the field `name` is one of
        `known`.
        """
        value = getattr(self, name)
        if value not in known:
            raise UnknownNameError(name, value, known)

    def __getitem__(self, name: str) -> Any:
        if name not in field_names(type(self)):
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(field_names(type(self)))

    def __len__(self) -> int:
        return len(field_names(type(self)))
