"""Blocking job shops by name, path or list, and the best known bounds of those that may swap.

A classic instance is a blocking one: the same files, the same names.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable
from importlib import resources

from jaxsched.core.identity import instance_hash
from jaxsched.core.result import Bounds
from jaxsched.envs.job_shop import io as classic
from jaxsched.envs.job_shop import lists
from jaxsched.envs.job_shop.blocking.sources import without_buffers
from jaxsched.envs.job_shop.blocking.types import Instance
from jaxsched.envs.job_shop.catalogue import package_data
from jaxsched.envs.job_shop.types import undated
from jaxsched.host.errors import InstanceError


def from_jobs(
    jobs: Iterable[Iterable[Iterable[int]]],
    *,
    release: Iterable[int] | None = None,
    num_machines: int | None = None,
) -> Instance:
    """An instance from `jobs[j][k] = (machine, duration)`; arguments and errors as of the
    classic `from_jobs`.
    """
    return without_buffers(lists.from_jobs(jobs, release=release, num_machines=num_machines))


def load(name_or_path: str | os.PathLike[str]) -> Instance:
    """The classic instance in a file or of that name, to be worked without buffers; errors as of
    the classic `load`.
    """
    return without_buffers(classic.load(name_or_path))


def bounds(name: str) -> Bounds:
    """Best known bounds of the makespan of a classic instance where swaps are allowed (242 in
    all).
    """
    data = _data()
    if name not in data["bounds"]:
        raise InstanceError(
            f"no bounds for instance {name!r}; known are those of the classic instances, such as la01"
        )
    lower, upper = data["bounds"][name]
    return Bounds(lower=lower, upper=upper, source=data["source"], date=data["as_of"])


def published_bounds(instance: Instance) -> Bounds | None:
    """Best known bounds of exactly this shop where swaps are allowed; None for one that is not
    published.
    """
    name = package_data(classic.PACKAGE, "hashes.json").get(
        instance_hash(undated(instance))[:16], ""
    )
    return bounds(name) if name in _data()["bounds"] else None


@functools.cache
def _data() -> dict:
    return json.loads(
        (resources.files(__package__ or "") / "data" / "bounds.json").read_text("utf-8")
    )
