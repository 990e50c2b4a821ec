"""When planning starts, and orders that are late by then (issue 16, row 12)."""

from __future__ import annotations

import datetime
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from jaxsched.envs import job_shop
from jaxsched.envs.job_shop import from_jobs, read_any, read_orders, summary
from jaxsched.envs.job_shop.heuristics import RULES
from jaxsched.host.errors import InstanceError
from tests import shapes

HEADER = "job,step,machine,minutes,release,due,weight\n"
EIGHT = datetime.datetime(2026, 11, 23, 8)


@pytest.fixture
def orders(tmp_path):
    """Reads rows below the usual header."""

    def read(rows, **options):
        path = tmp_path / "orders.csv"
        path.write_text(HEADER + rows)
        return read_orders(path, **options)

    return read


# ------------------------------------------------------------------- the start


def test_an_overdue_order_is_late_from_the_start(orders):
    """Row 12: it was malformed."""
    found = orders("A,1,saw,60,2026-11-23T08:00,,\nB,1,saw,30,,2026-11-22T08:00,2\n")
    assert found.origin == EIGHT
    assert found.instance.due.tolist() == [0, -24 * 60]
    assert found.instance.due_mask.tolist() == [False, True]
    _, faults = summary(found.instance, orders=found)
    assert faults == ["B is due at 2026-11-22T08:00, but ends at 2026-11-23T08:30 at best"]
    schedule = job_shop.dispatch(found.instance, "edd", objective="weighted_tardiness")
    assert job_shop.measure(found.instance, schedule, "weighted_tardiness") == 2 * (24 * 60 + 30)
    lines = job_shop.explain(found.instance, schedule, objective="weighted_tardiness", orders=found)
    assert lines[-1] == "late: B by 1470 min (weight 2); weighted tardiness 2940"
    page = job_shop.gantt_html(found.instance, schedule, orders=found).page
    assert "2026-11-22T08:00" in page
    assert "1470 min" in page


@pytest.mark.parametrize(
    ("rows", "due"),
    [
        ("A,1,m,5,2026-11-23T09:00,2026-11-23T08:30,\n", -30),
        ("A,1,m,5,2026-11-23T09:00,2026-11-23T09:00,\n", 0),
        ("A,1,m,5,9,8,\n", 8),  # minutes from the start of planning
        ("A,1,m,5,,-30,\n", -30),
        ("A,1,m,5,-7,4,\n", 4),
    ],
)
def test_no_date_that_makes_an_order_late_is_malformed(orders, rows, due):
    found = orders(rows)
    assert found.instance.due.tolist() == [due]
    assert len(summary(found.instance, orders=found)[1]) == 1


def test_an_order_without_release_does_not_wait_for_the_release_of_another(orders):
    """Row 12: with a start, all but the released later are available from then."""
    rows = "A,1,m,5,2026-11-24T08:00,,\nB,1,m,5,,,\nC,1,m,5,2026-11-20,,\n"
    found = orders(rows, start="2026-11-23T08:00")
    assert found.origin == EIGHT
    assert found.instance.release.tolist() == [24 * 60, 0, 0]
    assert found.notes == ("planning starts 2026-11-23T08:00, as given",)
    assert orders(rows).instance.release.tolist() == [4 * 24 * 60 + 480, 0, 0]


def test_due_dates_only(orders):
    """Row 12: planning started at the earliest due date; now on the day that the most urgent
    must begin.
    """
    rows = "A,1,m,600,,2026-11-25T18:00,\nB,1,m,3000,,2026-11-26,\nB,2,n,1,,,\n"
    found = orders(rows)
    assert found.origin == datetime.datetime(2026, 11, 23)
    assert found.notes[0].startswith(
        "planning starts 2026-11-23T00:00, the day on which the most urgent job must"
    )
    assert summary(found.instance, orders=found)[0][1] == found.notes[0]
    assert not summary(found.instance, orders=found)[1]
    found = orders(rows, start="2026-11-26 12:00")
    assert found.instance.due.tolist() == [-18 * 60, -12 * 60]


@pytest.mark.parametrize(
    "start",
    [
        "2026-11-23T08:00",
        "2026-11-23 8:00:00.000",
        "23.11.2026 08:00",
        "11/23/2026 8:00 AM",
        EIGHT,
    ],
)
def test_the_start_in_any_notation(orders, start):
    assert orders("A,1,m,5,,2026-11-24,\n", start=start).origin == EIGHT
    day = orders("A,1,m,5,,2026-11-24,\n", start=datetime.date(2026, 11, 23))
    assert day.origin == datetime.datetime(2026, 11, 23)


def test_orders_without_dates_get_them_from_the_start(orders, tmp_path):
    found = orders("A,1,m,5,,,\n", start="2026-11-23T08:00")
    schedule = job_shop.dispatch(found.instance)
    job_shop.write_schedule(found.instance, schedule, tmp_path / "p.csv", orders=found)
    assert "A,1,m,2026-11-23T08:00,2026-11-23T08:05\n" in (tmp_path / "p.csv").read_text()
    assert job_shop.read_schedule(tmp_path / "p.csv", found.instance, orders=found) == schedule
    assert orders("A,1,m,5,,,\n").notes == ()


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("soon", "start 'soon' is not a date such as 2026-11-23T08:00"),
        ("480", "start '480' is not a date such as 2026-11-23T08:00"),
        ("08:00", "start '08:00' is not a date such as 2026-11-23T08:00"),
        ("2026-11-31", "start '2026-11-31' is not in the calendar"),
        (
            "2026-11-23T08:00Z",
            "start '2026-11-23T08:00Z' has a time zone: give local times without one",
        ),
        ("2026-11-23T08:00:30", "start '2026-11-23T08:00:30' is not a whole minute"),
        ("3/4/2026", "start '3/4/2026' may be 2026-04-03 or 2026-03-04"),
        (EIGHT.replace(second=1), "start 2026-11-23T08:00:01 is not a whole minute"),
        (EIGHT.replace(tzinfo=datetime.UTC), "start 2026-11-23T08:00:00+00:00 has a time zone"),
    ],
)
def test_what_is_no_start(orders, start, message):
    with pytest.raises(ValueError) as error:
        orders("A,1,m,5,,2026-11-24,\n", start=start)
    assert str(error.value).startswith(message)


def test_a_start_among_minutes_is_refused(orders, tmp_path):
    with pytest.raises(InstanceError) as error:
        orders("A,1,m,5,3,,\n", start="2026-11-23")
    where = f"{tmp_path / 'orders.csv'}:2:9: release '3' counts minutes from the start of planning"
    assert str(error.value) == f"{where}: with `start`, give dates"


def test_a_start_that_nothing_uses_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1 1\n0 5\n")
    for name, message in ((path, "only a table of orders has dates"), ("ft06", "'ft06' is none")):
        with pytest.raises(InstanceError, match=message):
            job_shop.load(name, start="2026-11-23")


def test_every_way_to_read_takes_the_start(tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text(HEADER + "A,1,m,5,,2026-11-24,\n")
    instance, found = read_any(path, start=EIGHT)
    assert found is not None
    assert found.origin == EIGHT
    loaded = job_shop.load(path, start=EIGHT)
    assert loaded.due.tolist() == instance.due.tolist() == [16 * 60]


# ------------------------------------------------------------------- negative due dates


def late_shop(rng):
    """A random shop, most of whose due dates lie before or soon after time 0; and the shop 50
    ticks later.
    """
    jobs = shapes.random_jobs(rng)
    due = [rng.choice([None, rng.randint(-40, 30)]) for _ in jobs]
    release, weight = ([rng.randint(0, most) for _ in jobs] for most in (9, 3))
    later = [None if date is None else date + 50 for date in due]
    one = from_jobs(jobs, release=release, due=due, weight=weight)
    return one, from_jobs(jobs, release=[r + 50 for r in release], due=later, weight=weight)


@pytest.mark.parametrize("seed", range(8))
def test_negative_due_dates_are_due_dates(seed):
    """Everything is as in the same shop 50 ticks later, whose due dates are positive."""
    rng = random.Random(seed)
    one, later = late_shop(rng)
    env = jaxsched.make("JobShop-v0", objective="weighted_tardiness", candidates="any")
    assert int(env.lower_bound(one)) == int(env.lower_bound(later))
    key = jax.random.key(0)
    states = [env.reset(key, instance)[0] for instance in (one, later)]
    for name in RULES:
        scores = [np.asarray(RULES[name](state)) for state in states]
        if name in ("edd", "slack", "cr", "atc"):
            assert scores[0].argmax() == scores[1].argmax(), name
        assert np.isfinite(scores[0].astype(np.float64)).all()
    schedule = job_shop.dispatch(one, "edd", objective="weighted_tardiness")
    moved = job_shop.Schedule(
        [[start + 50 for start in row] for row in schedule.start], schedule.makespan + 50
    )
    assert job_shop.validate(later, moved) == []
    value = job_shop.measure(one, schedule, "weighted_tardiness")
    assert value == job_shop.measure(later, moved, "weighted_tardiness")
    assert value >= int(env.lower_bound(one))
    observation = env.observe(states[0])
    assert bool(jnp.isfinite(observation["job"].features).all())


@pytest.mark.parametrize("seed", range(4))
def test_negative_due_dates_are_solved_exactly(seed):
    """A due date of -1 stood for none."""
    pytest.importorskip("ortools", reason="the exact solver is an extra")
    one, later = late_shop(random.Random(seed))
    found = [
        job_shop.solve_exact(i, 5.0, objective="weighted_tardiness", num_workers=1)
        for i in (one, later)
    ]
    assert found[0].proved
    assert found[1].proved
    assert found[0].objective == found[1].objective


def test_a_due_date_of_minus_one():
    pytest.importorskip("ortools", reason="the exact solver is an extra")
    shop = from_jobs([[(0, 2)], [(0, 3)]], due=[-1, None])
    result = job_shop.solve_exact(shop, 5.0, objective="weighted_tardiness", num_workers=1)
    assert (result.objective, result.schedule.start) == (3, [[0], [2]])
    assert result.proved


def test_lateness_fits_int32():
    from_jobs([[(0, 2**30)]], due=[-(2**30) + 1])
    with pytest.raises(
        InstanceError, match=r"job 0: due date -1073741824 is too long before the end of all"
    ):
        from_jobs([[(0, 2**30)]], due=[-(2**30)])
    with pytest.raises(InstanceError, match="job 0: due date does not fit int32"):
        from_jobs([[(0, 1)]], due=[-(2**31)])
    shop = from_jobs([[(0, 10)]], due=[-(2**30)], weight=[2])
    job_shop.check_objective(shop, "makespan")
    with pytest.raises(
        InstanceError, match="weighted_tardiness may reach 2 times 1073741834 ticks"
    ):
        job_shop.check_objective(shop, "weighted_tardiness")
