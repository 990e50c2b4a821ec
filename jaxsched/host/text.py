"""Text and JSON files of users: read within limits, with errors that point into them; written
without overwriting.

Readers build nothing but lists, numbers and texts, and raise `InstanceError` only. Nothing in a
file is run or opened.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxsched.host.checks import Fault, mapping
from jaxsched.host.errors import InstanceError

# bounds the memory and time of a parser; the largest classic instance has 11 KiB
MAX_FILE_BYTES = 4 * 2**20
MAX_DIGITS = 10  # of an int32

# possessive: linear in time, constant in memory
_NUMBERS = re.compile(r"\s*+(?:[0-9]{1,10}(?:\s++|$))*+")
_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
# Beside letters, what names in Windows-1252 hold.
_SIGNS = frozenset("\u00a0°µ€£§²³·×–—‘’“”„…«»®™")
_JSON_SPACE = re.compile(r"[ \t\n\r]*")
_MANY_DIGITS = re.compile(r"\d{20}")


def read_bytes(path: str | os.PathLike[str], limit: int = MAX_FILE_BYTES) -> bytes:
    """The content of a file of bounded size; a huge one is refused unread."""
    path = Path(path)
    refusal = InstanceError(f"larger than {limit // 2**20} MiB, the limit", file=str(path))
    if path.stat().st_size > limit:
        raise refusal
    with path.open("rb") as file:  # the file may grow meanwhile
        content = file.read(limit + 1)
    if len(content) > limit:
        raise refusal
    return content


class Text:
    """The lines of a file, and errors that point into them.

    Lines and tokens count from 0 here, from 1 in messages. Read are UTF-8, UTF-16 with its byte
    order mark, and Windows-1252, as spreadsheets write them; `encoding` says which. Raises
    `InstanceError` at the first byte that speaks against a text.
    """

    def __init__(self, content: bytes, file: str):
        self.file = file
        mark = next((mark for mark in _MARKS if content.startswith(mark)), b"")
        self.encoding, content = _MARKS.get(mark, "utf-8"), content[len(mark) :]
        strange = None
        try:
            text = content.decode(self.encoding)
        except UnicodeDecodeError as error:
            text, strange = content.decode("cp1252", "replace"), error.start  # a byte, a character
            if not (mark or re.search(rb"\xc3[\x80-\xbf]", content)):  # such are of broken UTF-8
                self.encoding, strange = "cp1252", _first_strange(text)
        if strange is None and "\0" in text:
            strange = text.index("\0")
        if strange is not None:
            before = text[:strange].replace("\r\n", "\n").replace("\r", "\n")
            line = before.count("\n")
            reason = "not a text file (save it as UTF-8)"
            raise self.fail_at(reason, line, len(before) - before.rfind("\n") - 1)
        self.text = text.replace("\r\n", "\n").replace("\r", "\n")
        self.lines = self.text.removesuffix("\n").split("\n")

    def fail(self, reason: str, line: int | None = None, token: int | None = None) -> InstanceError:
        """An error in a line, at its `token` or behind its end where it has fewer."""
        if line is None or token is None:
            return self.fail_at(reason, line, None)
        found = next(itertools.islice(re.finditer(r"\S+", self.lines[line]), token, None), None)
        return self.fail_at(
            reason, line, found.start() if found else len(self.lines[line].rstrip())
        )

    def fail_at(self, reason: str, line: int | None, column: int | None) -> InstanceError:
        """An error at a character of a line."""
        one, other = (None if position is None else position + 1 for position in (line, column))
        return InstanceError(reason, file=self.file, line=one, column=other)

    def rows(self) -> list[int]:
        """The lines that are neither blank nor comments."""
        return [
            n
            for n, line in enumerate(self.lines)
            if (bare := line.strip()) and not bare.startswith("#")
        ]

    def numbers(self, line: int) -> list[int]:
        """The integers >= 0 of a line."""
        content = self.lines[line]
        good = _NUMBERS.match(content)
        end = good.end() if good else 0
        if end == len(content):
            return list(map(int, content.split()))
        token = content[end:].split(maxsplit=1)[0]
        raise self.fail_at(number_fault(token) or "not a number", line, end)


def _first_strange(text: str) -> int | None:
    """Where a text read as Windows-1252 holds what no text would, None for nowhere."""
    for match in re.finditer(r"[^\t\n\r\f -~]", text):
        if not (match[0].isalpha() or match[0] in _SIGNS):
            return match.start()
    return None


def number_fault(token: str) -> str | None:
    """Why `token` is not an integer >= 0 in at most ten digits 0-9, None if it is one."""
    shown = repr(token if len(token) <= 20 else token[:20] + "...")
    if re.fullmatch(r"-[0-9]+", token):
        return f"{shown} is negative"
    if not re.fullmatch(r"[0-9]+", token):  # not str.isdigit, which takes the digits of all scripts
        return f"{shown} is not an integer in digits 0-9"
    if len(token) > MAX_DIGITS:
        return f"{shown} has more than {MAX_DIGITS} digits"
    return None


def write_text(path: str | os.PathLike[str], lines: Iterable[str], overwrite: bool) -> None:
    """Write a file in UTF-8; raises `FileExistsError` where it exists and `overwrite` is False."""
    try:
        with open(path, "w" if overwrite else "x", encoding="utf-8", newline="") as file:
            file.writelines(lines)
    except FileExistsError:
        raise FileExistsError(
            f"{os.fspath(path)} exists; pass overwrite=True to replace it"
        ) from None


def read_json(text: Text) -> Any:
    """The value in a JSON file; keys that are given twice are refused."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))
            raise text.fail(f"the key {reprlib.repr(twice)} is given twice in one object")
        return entries

    parse_int = _json_integer if _MANY_DIGITS.search(text.text) else None
    try:
        return json.loads(text.text, object_pairs_hook=unique, parse_int=parse_int)
    except json.JSONDecodeError as error:
        raise text.fail_at(f"not JSON: {error.msg}", error.lineno - 1, error.colno - 1) from None
    except RecursionError:
        raise text.fail("not JSON: nested too deeply") from None


def _json_integer(digits: str) -> int:
    # enough to see that it is out of range; int of many digits is slow or refused
    return int(digits[:20])


class Json:
    """An object of a JSON file, and errors that point to its values."""

    def __init__(self, text: Text, what: str):
        self.text, value = text, read_json(text)
        if not isinstance(value, dict):
            found = "an array" if isinstance(value, list) else reprlib.repr(value)
            raise text.fail_at(f"expected {what} as one JSON object, got {found}", 0, 0)
        self.entry: dict[str, Any] = value

    def fail(self, reason: str, *path: str | int) -> InstanceError:
        """An error at the value that `path`, keys and indices, leads to; at the nearest one
        around it if none.
        """
        try:
            position = self._find(path)
        except RecursionError:  # nested almost too deeply: a few calls ago it could be read
            position = 0
        line = self.text.text.count("\n", 0, position)
        return self.text.fail_at(
            reason, line, position - self.text.text.rfind("\n", 0, position) - 1
        )

    def known(self, keys: Iterable[str]) -> None:
        """Refuse keys other than `keys`: what is not understood is not dropped silently."""
        try:
            mapping(self.entry, known=list(keys))
        except Fault as fault:
            raise self.fail(fault.reason, *fault.keys) from None

    def _find(self, path: Iterable[str | int]) -> int:
        text, decoder = self.text.text, json.JSONDecoder(parse_int=_json_integer)

        def skip(at: int) -> int:
            match = _JSON_SPACE.match(text, at)
            return match.end() if match else at

        def inside(at: int, part: str | int) -> int | None:
            if text[at] != ("{" if isinstance(part, str) else "["):
                return None
            at, count = skip(at + 1), 0
            while text[at] not in "]}":
                key: str | int = count
                if isinstance(part, str):
                    key, at = decoder.raw_decode(text, at)
                    at = skip(skip(at) + 1)  # the colon
                if key == part:
                    return at
                at = skip(decoder.raw_decode(text, at)[1])
                at, count = skip(at + (text[at] == ",")), count + 1
            return None

        at = skip(0)
        for part in path:
            found = inside(at, part)
            if found is None:
                break
            at = found
        return at
