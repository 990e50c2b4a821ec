"""Errors a user can cause: one clear line saying what is wrong, where, and what to do."""

from __future__ import annotations

import copyreg
import difflib
from collections.abc import Iterable
from typing import Any


class PortableError(Exception):
    """Base of exceptions with an `__init__` of their own: they survive `pickle` and `copy`.

    Python would call `__init__` with the message alone, which kills a pool of processes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # pyright: ignore


class InstanceError(PortableError, ValueError):
    """A malformed or unknown problem instance: `file`, `line` and `column` say where, `reason` what
    to mend.

    Lines and columns count from 1; a column is the position of a character in its line, None where
    a whole line or file is at fault.
    """

    def __init__(
        self,
        reason: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ):
        self.reason, self.file, self.line, self.column = reason, file, line, column
        where = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(f"{where}: {reason}" if where else reason)


class Infeasible(PortableError, ValueError):
    """No solution within the given limits, or none was found; the message names what binds and how
    much is missing.

    `missing` is that amount in the family's unit, `plan` the best solution of the problem without
    the limit that was found (None where there is none), and `proved` says whether no solution
    exists.
    """

    def __init__(
        self, reason: str, *, missing: int | None = None, plan: Any = None, proved: bool = False
    ):
        self.reason, self.missing, self.plan, self.proved = reason, missing, plan, proved
        super().__init__(reason)


def did_you_mean(
    name: Any,
    known: Iterable[str],
    otherwise: str | None = None,
    *,
    cutoff: float = 0.6,
) -> str:
    """What a message says of an unknown name: up to three of those `known` that are close to it.

    Where none is, `otherwise`, by default all that are known. Capitals do not count.
    """
    known = list(known)
    plain = {each.lower(): each for each in known}
    close = difflib.get_close_matches(str(name)[:100].lower(), plain, n=3, cutoff=cutoff)
    if close:
        return f"did you mean {' or '.join(plain[each] for each in close)}?"
    return f"known: {', '.join(known)}" if otherwise is None else otherwise


class UnknownNameError(PortableError, KeyError):
    """An unknown environment, rule, preset or option, with the close matches.

    `name` is what was given, which may be no string, and `known` are the names that there are.
    """

    def __init__(self, what: str, name: Any, known: Iterable[Any]):
        self.name, self.known = name, sorted(map(str, known))
        self.message = f"unknown {what} {name!r}; {did_you_mean(name, self.known)}"
        super().__init__(self.message)

    def __str__(self) -> str:  # KeyError would print the repr of its message
        return self.message
