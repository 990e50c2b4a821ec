"""Errors: what they say, and that they survive the way to another process (issue 16, row 7)."""

from __future__ import annotations

import concurrent.futures
import copy
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil

import pytest

import jaxsched
from jaxsched.core import Infeasible, InstanceError, UnknownNameError
from jaxsched.evaluation import InvalidSolutionError
from jaxsched.host import checks
from jaxsched.policies.io import CheckpointMismatchError
from jaxsched.training import CorruptCheckpointError, Stopped


class Nested(InstanceError):
    """An error of a third party, with a signature of its own."""

    def __init__(self, table: str, row: int):
        super().__init__(f"row {row} of {table}", file=table, line=row)
        self.row = row


ERRORS = [
    UnknownNameError("rule", "sptt", ["spt", "mwkr"]),
    UnknownNameError("environment", 7, ["JobShop-v0"]),
    UnknownNameError("rule", None, [2, "spt"]),
    InstanceError("a machine is missing", file="ft06", line=3, column=7),
    InstanceError("no file"),
    Infeasible("16 bytes are missing", missing=16, plan={"offsets": [0, 4]}, proved=True),
    InvalidSolutionError("spt on ft06: job 0 overlaps"),
    CheckpointMismatchError("other widths"),
    CorruptCheckpointError("4/manifest.ocdbt: missing"),
    Stopped("stopped after update 2 of 4, which is saved"),
    checks.Fault("is no duration", ("job", 2), ("operation", 1), ("", 0), field="duration"),
    checks.Fault("expected an array", "clusters", 0, "opp"),
    Nested("orders.csv", 4),
]


def error_types() -> set[type]:
    """All classes of exceptions that the package defines."""
    found = set()
    for module in pkgutil.walk_packages(jaxsched.__path__, "jaxsched."):
        if module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            is_error = inspect.isclass(value) and issubclass(value, BaseException)
            if is_error and value.__module__.startswith("jaxsched."):
                found.add(value)
    return found


def test_every_error_of_the_package_has_a_case():
    """Issue 16, row 7: whoever adds an exception adds it to `ERRORS`, or makes it a base."""
    covered = {base for error in ERRORS for base in type(error).__mro__}
    assert error_types() <= covered


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_pickle_and_copy(error):
    """Issue 16, row 7: `UnknownNameError` could not be loaded again, and killed pools of
    processes.
    """
    error.add_note("while reading the second file")
    copies = [copy.copy(error), copy.deepcopy(error)]
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        copies.append(pickle.loads(pickle.dumps(error, protocol)))  # noqa: S301
    for other in copies:
        assert type(other) is type(error)
        assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


def misspell(name):
    return jaxsched.make(name)


def test_an_error_reaches_who_asked_a_process():
    """A sibling: the pool goes on afterwards, and the attributes arrive."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        with pytest.raises(UnknownNameError, match="did you mean JobShop-v0") as caught:
            pool.submit(misspell, "JobShop-v1").result(timeout=120)
        assert caught.value.name == "JobShop-v1"
        assert "JobShop-v0" in caught.value.known
        assert pool.submit(abs, -1).result(timeout=120) == 1


@pytest.mark.parametrize("name", [7, None, 2.5, ["JobShop-v0"], b"JobShop-v0", {}], ids=repr)
def test_a_name_that_is_no_string_is_unknown(name):
    """A sibling: close matches are found among strings alone, and a list cannot be looked up."""
    with pytest.raises(UnknownNameError, match=r"unknown environment .*JobShop-v0") as caught:
        jaxsched.make(name)
    assert caught.value.name == name
    assert len(str(caught.value).splitlines()) == 1
