"""Named instances: best known bounds from a file of the package, operations from the folder
`$JAXSCHED_DATA`.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from jaxsched.core.identity import instance_hash
from jaxsched.core.result import Bounds
from jaxsched.host.errors import InstanceError, did_you_mean
from jaxsched.host.text import Text, read_bytes, read_json


@functools.cache
def package_data(package: str, file: str) -> dict[str, Any]:
    """A JSON file in the folder `data` of a package."""
    return json.loads((resources.files(package) / "data" / file).read_text("utf-8"))


class Catalogue:
    """The named instances of one problem.

    `package` has a `data/bounds.json`: `source` and `as_of` of the bounds, `instances`, what each
    family is, and `bounds`, lower and upper per name. A family holds the names that are its own
    name and a number; or, where a family is called otherwise, those under its name in `bounds`.
    `folder`, below the data folder, has JSON files with arrays of entries with a `name`. `example`
    is for messages: some families' first names.
    """

    def __init__(self, package: str, folder: str, example: str):
        self.package, self.folder, self.example = package, folder, example

    @functools.cached_property
    def _data(self) -> dict[str, Any]:
        return package_data(self.package, "bounds.json")

    @functools.cached_property
    def families(self) -> dict[str, list[str]]:
        """Names by family, in order."""
        found: dict[str, list[str]] = {}
        for name, value in self._data["bounds"].items():
            if isinstance(value, dict):
                found[name] = list(value)
            else:
                found.setdefault(name.rstrip("0123456789"), []).append(name)
        return found

    @functools.cached_property
    def known(self) -> dict[str, list[int]]:
        """Lower and upper bound by name."""
        found: dict[str, list[int]] = {}
        for name, value in self._data["bounds"].items():
            found.update(value if isinstance(value, dict) else {name: value})
        return found

    def bounds(self, name: str) -> Bounds:
        """Best known bounds of the makespan of an instance."""
        if name not in self.known:
            raise InstanceError(f"no bounds for instance {name!r}; {self.close(name, self.known)}")
        lower, upper = self.known[name]
        return Bounds(
            lower=lower, upper=upper, source=self._data["source"], date=self._data["as_of"]
        )

    def published_bounds(self, instance: Any) -> Bounds | None:
        """Best known bounds of the makespan of exactly this instance, whatever it is called; None
        for any other.

        `data/hashes.json` of the package has the first 16 digits of `instance_hash` of every
        instance.
        """
        name = package_data(self.package, "hashes.json").get(instance_hash(instance)[:16])
        return self.bounds(name) if name is not None else None

    def expand(self, spec: str) -> list[str]:
        """The names and paths in a comma-separated list of names, ranges, families and paths."""
        chosen: dict[str, None] = {}
        for part in (part.strip() for part in spec.split(",")):
            if part in self.known or os.path.isfile(part):
                chosen[part] = None
            # The folder is read for what is not known without it.
            elif members := _range(self.known, part):
                chosen.update(dict.fromkeys(members))
            elif part in (names := self.names()):
                chosen[part] = None
            elif part in self.families:
                chosen.update(dict.fromkeys(self.families[part]))
            elif members := _range(names, part):
                chosen.update(dict.fromkeys(members))
            else:
                raise InstanceError(f"no instances named {part!r}; {self.close(part, names)}")
        return list(chosen)

    def sets(self) -> dict[str, str]:
        """The families: how many instances, and where they are from."""
        about = self._data["instances"]
        return {
            name: f"{len(self.families[name])} instances, {text}" for name, text in about.items()
        }

    def names(self) -> list[str]:
        """All names, those of the data folder included."""
        return [*self.known, *(name for name in self.entries() if name not in self.known)]

    def entries(self) -> dict[str, tuple[dict[str, Any], str]]:
        """The instances of the folder `$JAXSCHED_DATA`: name -> (entry, file)."""
        if not os.environ.get("JAXSCHED_DATA"):
            return {}
        found = {}
        folder = Path(os.environ["JAXSCHED_DATA"], self.folder)
        for path in sorted(path for path in folder.glob("*") if path.suffix.lower() == ".json"):
            status = path.stat()
            entries = _entries(path, status.st_mtime_ns, status.st_size)
            found.update({name: (entry, str(path)) for name, entry in entries})
        return found

    def operations(self, name: str) -> tuple[Any, Any, str] | None:
        """The `operations` and `machines` of an instance of the data folder, and its file; None
        where there is none.
        """
        entry, file = self.entries().get(name, (None, ""))
        if entry is None:
            return None
        if "operations" not in entry:
            raise InstanceError(f"{name}: no `operations`", file=file)
        return entry["operations"], entry.get("machines"), file

    def not_found(self, name: str, packages: Iterable[str] = ()) -> InstanceError:
        """What to say where `load` has looked everywhere; `packages` are those that would bring
        the instance.
        """
        if name not in self.known:
            return InstanceError(
                f"no file and no instance named {name!r}; {self.close(name, self.names())}"
            )
        folder = os.environ.get("JAXSCHED_DATA")
        remedies = [
            f"JAXSCHED_DATA={folder} has no {self.folder}/*.json with it"
            if folder
            else "set JAXSCHED_DATA",
            *(f"pip install {package}" for package in packages),
        ]
        return InstanceError(
            f"the data of {name!r} is not in the package: " + ", or ".join(remedies)
        )

    def close(self, name: str, known: Iterable[str]) -> str:
        """What the user may have meant, for a message."""
        known_are = f"known are the families {', '.join(self.families)} ({self.example}, ...)"
        return did_you_mean(name, known, f"{known_are} and paths of files")


@functools.lru_cache(maxsize=64)
def _entries(path: Path, modified: int, size: int) -> list[tuple[str, dict[str, Any]]]:
    """The named entries of a data file; time and size are part of the cache's key, so that an
    edit is seen.
    """
    entries = read_json(Text(read_bytes(path), str(path)))
    if not isinstance(entries, list):
        raise InstanceError("expected an array of instances", file=str(path))
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise InstanceError("expected an array of objects, each with a `name`", file=str(path))
    return [(entry["name"], entry) for entry in entries]


_NUMBERED = re.compile(r"([a-z_]+)(\d+)(_?[a-z]*)")


def _range(known: Iterable[str], span: str) -> list[str]:
    """The known names from one to another that differ in their number only; empty unless both
    ends are among them.
    """
    ends = [_NUMBERED.fullmatch(end) for end in span.split("-")]
    if len(ends) != 2 or not (ends[0] and ends[1] and ends[0].group(1, 3) == ends[1].group(1, 3)):
        return []
    stem, ending = ends[0].group(1, 3)
    members = {}
    for name in known:
        match = _NUMBERED.fullmatch(name)
        if match and match.group(1, 3) == (stem, ending):
            members[int(match[2])] = name
    first, last = int(ends[0][2]), int(ends[1][2])
    if [members.get(first), members.get(last)] != span.split("-"):
        return []
    return [members[number] for number in sorted(members) if first <= number <= last]
