"""Files that are whole, whenever a process is killed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """The name of a new file beside `path`, which takes its place at the end: there is either the
    old file or the whole new one.
    """
    path = Path(path)
    new = path.with_name(f"{path.name}.new")
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in the place of an old one, see `replacing`."""
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8", newline="\n")
