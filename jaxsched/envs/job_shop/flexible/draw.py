"""Gantt charts: those of the job shop that is left when every operation stays on its machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxsched.envs.job_shop import draw
from jaxsched.envs.job_shop.flexible.lists import fixed
from jaxsched.envs.job_shop.flexible.types import Instance, Schedule
from jaxsched.envs.job_shop.types import Schedule as FixedSchedule
from jaxsched.host.picture import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def gantt_svg(instance: Instance, schedule: Schedule, *, title: str | None = None) -> Picture:
    """The schedule as a picture; pointing at a bar shows its job, operation, machine, start and
    end.

    Jobs, operations and machines count from 0. Raises `ValueError` where the schedule does not fit
    the instance.
    """
    chosen = FixedSchedule(schedule.start, schedule.makespan)
    return draw.gantt_svg(fixed(instance, schedule), chosen, title=title)


def gantt(instance: Instance, schedule: Schedule, ax: Axes | None = None) -> Axes:
    """The schedule drawn with matplotlib on `ax`, or on a new figure of fitting size; returns the
    axes.

    Raises `ValueError` where the schedule does not fit the instance.
    """
    return gantt_svg(instance, schedule).plot(None if ax is None else [ax])[0]
