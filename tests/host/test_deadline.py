"""Time limits of whole calls, by a clock of the test's own: no test here waits (issue 16, row
13).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from jaxsched.host import deadline as deadlines
from jaxsched.host.cpsat import Solver, producer
from jaxsched.host.deadline import Deadline


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(deadlines, "clock", clock)
    return clock


def test_a_deadline_counts_from_its_construction(clock):
    deadline = Deadline(5)
    clock.now += 3
    assert (deadline.left(), deadline.spent(), deadline.is_over()) == (2, 3, False)
    deadline.check()
    clock.now += 2
    assert (deadline.left(), deadline.is_over()) == (0, True)
    with pytest.raises(TimeoutError, match="time limit of 5 s is over"):
        deadline.check()
    clock.now += 9
    assert (deadline.left(), deadline.spent()) == (0, 14)


def test_a_step_has_its_part_of_what_is_left(clock):
    deadline = Deadline(8)
    clock.now += 1
    assert deadline.part(0.25).left() == 2
    clock.now += 6
    assert deadline.part(0.25).left() == 1
    assert deadline.at_least(3).left() == 3
    assert Deadline(math.inf).part(0.5).left() == math.inf


@pytest.mark.parametrize("limit", [-1, -0.5, math.nan, "5", None, True, np.array([1.0, 2.0])])
def test_what_is_no_time_limit_is_refused(limit):
    with pytest.raises(ValueError, match="time_limit is in seconds and not negative"):
        Deadline(limit)


def test_a_scalar_of_numpy_is_a_time_limit(clock):
    assert Deadline(np.float32(2)).left() == 2


def small_model(solver):
    model = solver.cp_model.CpModel()
    x = model.new_int_var(0, 9, "x")
    model.add(x >= 4)
    model.minimize(x)
    return model


def test_what_comes_before_the_search_counts_against_its_limit(clock):
    solver = Solver("test", 5, num_workers=1)
    model = small_model(solver)
    clock.now += 3.5
    assert solver.solve(model, 0, 9) == 4
    assert solver.solver.parameters.max_time_in_seconds == 1.5
    assert solver.optimal
    # A step of the call may have less, and a call that has begun its own deadline.
    assert solver.solve(model, 0, 9, deadline=Deadline(0.5)) == 4
    assert solver.solver.parameters.max_time_in_seconds == 0.5
    begun = Deadline(7)
    clock.now += 1
    assert Solver("test", begun).deadline.left() == 6


def test_past_the_limit_nothing_is_looked_at(clock, monkeypatch):
    solver = Solver("test", 5, num_workers=1)
    model = small_model(solver)
    assert solver.solve(model, 0, 9) == 4
    monkeypatch.setattr(solver.solver, "solve", None)
    clock.now += 5
    assert solver.solve(model, 2, 9) == 2
    assert (solver.found, solver.optimal, solver.infeasible) == (False, False, False)
    assert solver.solve(model, 12, 9) == 9


def test_producer_names_who_made_the_solution():
    """Issue 16, row 14."""
    assert producer("hint", improved=True, proved=True) == "cp_sat"
    assert producer("hint", improved=False, proved=True) == "hint, proved by cp_sat"
    assert producer("eft", improved=False, proved=False) == "eft"
