"""What a problem offers beside its rules: one typed record, whose entries are functions of the
environment.

Every entry is optional, and every function takes the environment and the instance first, so that it
sees the settings. Whoever needs an entry asks for it before any work is done.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from jaxsched.core.environment import Environment, Instance, Source
from jaxsched.core.result import Bounds, Result
from jaxsched.host.picture import Picture


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a trained policy is compared with unless the user says otherwise, and on which
    instances.
    """

    groups: tuple[str, ...]  # columns of the table, as `expand` reads them
    # Evaluated during training: generated instances of each source, by label, so that no instance of
    # the table selects a policy.
    track: Mapping[str, Source]
    draw: str  # the instance whose solution is drawn
    rules: tuple[str, ...]
    randomised_rule: str | None  # the best of many episodes of it
    rule_settings: Mapping[str, Any]  # of the environment, under which rules are at their best
    samples: int = 64  # episodes of the methods that keep the best of many
    rounds: int = 4  # of a policy's samples that follow the best one; 1 leaves them out
    time_limit: float = 3.0  # seconds per instance for the exact solver; 0 leaves it out


@dataclasses.dataclass(frozen=True)
class Preset:
    """Tuned training settings as plain data; `training` is read by `jaxsched.training.algorithms`."""

    source: Source | Sequence[Source]  # several take turns, see `training.train`
    training: Mapping[str, Any]
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of the environment
    about: str = ""
    comparison: Comparison | None = None  # another one than the problem offers

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources of its instances, one or several."""
        return tuple(self.source) if isinstance(self.source, Sequence) else (self.source,)


class Loaded(NamedTuple):
    """An instance that was read, and what its file says beyond arrays."""

    instance: Instance
    # The names and dates of the problem in the user's words, for drawings, explanations and tables;
    # None where there are none.
    names: Any = None
    unit: int = 1  # of the objective: so many of what the file counts in, such as bytes


class Load(Protocol):
    """Reads a named instance or a file. Raises `InstanceError`."""

    def __call__(self, env: Environment, name: str, options: Mapping[str, str], /) -> Loaded:
        """`options` say how a file is read, by name; an unknown one raises `UnknownNameError`."""
        ...


class Exact(Protocol):
    """An exact solver. Raises `ImportError` where it is not installed."""

    def __call__(
        self,
        env: Environment,
        instance: Instance,
        /,
        *,
        time_limit: float,
        hint: Any = None,
        num_workers: int | None = None,
        seed: int = 0,
    ) -> Result:
        """The best solution found within `time_limit` seconds, never worse than the solution
        `hint`.
        """
        ...


class Draw(Protocol):
    """Draws a solution; a `Picture` is saved as SVG, HTML, PNG or PDF."""

    def __call__(
        self,
        env: Environment,
        instance: Instance,
        solution: Any,
        /,
        *,
        names: Any = None,
        title: str = "",
    ) -> Picture: ...


class Explain(Protocol):
    """Says in sentences what binds a solution."""

    def __call__(
        self, env: Environment, instance: Instance, solution: Any, /, *, names: Any = None
    ) -> Sequence[str]: ...


class WriteSolution(Protocol):
    """Writes a solution as a table. Raises `FileExistsError` where the file exists, unless told
    to overwrite it.
    """

    def __call__(
        self,
        env: Environment,
        instance: Instance,
        solution: Any,
        path: str | os.PathLike[str],
        /,
        *,
        names: Any = None,
        overwrite: bool = False,
    ) -> None: ...


class WriteInstance(Protocol):
    """Writes an instance in the standard format of its field, in its own names and units where
    `names` has them.
    """

    def __call__(
        self,
        env: Environment,
        instance: Instance,
        path: str | os.PathLike[str],
        /,
        *,
        names: Any = None,
        overwrite: bool = False,
    ) -> None: ...


class Summary(NamedTuple):
    """What is in an instance, in sentences, and what in it cannot be met."""

    lines: Sequence[str]
    faults: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Offer:
    """What a problem offers beside its rules. `registry.offer(env)` returns it; nothing is
    offered by default.
    """

    presets: Mapping[str, Preset] = dataclasses.field(default_factory=dict)
    comparison: Callable[[Environment], Comparison] | None = None
    # Reading: one name or file; the names in a list such as "ft06,ta01-ta10"; the named sets and
    # what they are.
    load: Load | None = None
    # name -> what it says
    load_options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    expand: Callable[[Environment, str], Sequence[str]] | None = None
    sets: Callable[[Environment], Mapping[str, str]] | None = None
    # A generator of instances with options by name; an unknown one raises `UnknownNameError`.
    source: Callable[[Environment, Mapping[str, Any]], Source] | None = None
    # of an instance and its names
    summary: Callable[[Environment, Instance, Any], Summary] | None = None
    # Figures: best known bounds of exactly this instance under these settings, None where none are
    # published.
    bounds: Callable[[Environment, Instance], Bounds | None] | None = None
    exact: Exact | None = None
    # A solution as a picture, which saves itself as .svg, .html, .png and .pdf, and in words.
    picture: Draw | None = None
    explain: Explain | None = None
    # Writing.
    write: WriteSolution | None = None
    write_instance: WriteInstance | None = None

    def offers(self) -> tuple[str, ...]:
        """The names of the entries that are there, in the order of the fields."""
        fields = (field.name for field in dataclasses.fields(self))
        return tuple(name for name in fields if getattr(self, name))
