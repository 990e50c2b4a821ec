"""Names for what an instance numbers, for files, charts and explanations."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from jaxsched.envs.job_shop.lists import to_jobs
from jaxsched.envs.job_shop.orders import Orders, isoformat
from jaxsched.envs.job_shop.types import Instance
from jaxsched.host.table import read_date

_MINUTE = datetime.timedelta(minutes=1)


class Labels:
    """How the jobs, steps, machines and times of an instance are called: by `orders`, or by
    numbers and ticks.
    """

    def __init__(self, instance: Instance, orders: Orders | None):
        self.jobs, self.orders = to_jobs(instance), orders
        self.origin = None if orders is None else orders.origin
        if orders is not None and to_jobs(orders.instance) != [job for job in self.jobs if job]:
            raise ValueError("these orders are of another instance")

    def operations(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """(job, operation), (machine, duration) of each."""
        for job, row in enumerate(self.jobs):
            for op, operation in enumerate(row):
                yield (job, op), operation

    def job(self, job: int) -> int | str:
        return job if self.orders is None else self.orders.jobs[job]

    def step(self, job: int, op: int) -> int:
        return op if self.orders is None else self.orders.steps[job][op]

    def machine(self, machine: int) -> int | str:
        return machine if self.orders is None else self.orders.machines[machine]

    def time(self, ticks: int) -> int | str:
        if self.origin is None:
            return int(ticks)
        try:
            return isoformat(self.origin + int(ticks) * _MINUTE)
        except OverflowError:
            raise ValueError("the schedule ends after the year 9999") from None

    def ticks(self, time: int | str | datetime.datetime) -> int | None:
        """The inverse of `time`, of a date in any notation; None for what is none."""
        if self.origin is None or isinstance(time, int):
            return time if self.origin is None and isinstance(time, int) else None
        try:
            date = read_date(time) if isinstance(time, str) else time
        except ValueError:  # not in the calendar, with a time zone, ...
            return None
        return None if date is None else (date - self.origin) // _MINUTE

    def job_text(self, job: int) -> str:
        """`job 3`, or its name."""
        return f"job {self.job(job)}" if self.orders is None else str(self.job(job))

    def machine_text(self, machine: int) -> str:
        """`machine 3`, or its name."""
        return (
            f"machine {self.machine(machine)}"
            if self.orders is None
            else str(self.machine(machine))
        )

    def span_text(self, ticks: int) -> str:
        """A length of time: `90`, or where a tick is a minute `90 min`."""
        return f"{ticks} min" if self.origin is not None else str(ticks)
