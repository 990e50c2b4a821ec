"""Data of the blocking job shop: the instance, the state of a shop that runs, the finished
schedule.

Shapes as in the classic job shop: `J` jobs, `K` operations per job, `M` machines, and `W`
maintenance windows per machine, all padded by zeros with a False mask; a window of length 0 is
none.
"""

from __future__ import annotations

import dataclasses

from flax import struct
from jax import Array

from jaxsched.envs.job_shop.types import Shop


class Failures(struct.PyTreeNode):
    """Machines that fail while they work. The draws are addressed: machine and how many
    operations it began before.
    """

    noise_key: Array  # key[]
    probability: Array  # f32[]  that a machine fails during an operation of length > 0
    mean_repair: Array  # f32[]  ticks, >= 1; repair times are geometric


class Windows(struct.PyTreeNode):
    """Maintenance, known beforehand: the machine is down in [start, end). Disjoint and rising on
    each machine.
    """

    start: Array  # i32[M, W]  ticks
    end: Array  # i32[M, W]  ticks


class Instance(Shop):
    """A job shop without buffers: routes and release dates, and what interrupts it."""

    failures: Failures | None = None  # None: no machine fails
    windows: Windows | None = None  # None: no maintenance


class Record(struct.PyTreeNode):
    """Of the operation that each job began last, where machines fail: what is known before it is
    over.
    """

    planned: Array  # i32[J]  its end if its machine does not fail, ticks
    fails: Array  # i32[J]  when its machine fails; the largest int32: it does not
    num_begun: Array  # i32[M]  operations that each machine began: the ordinal of its next one


class State(struct.PyTreeNode):
    """A shop at a moment at which something can move: a decision, a single competitor, or jobs
    that swap.
    """

    instance: Instance
    time: Array  # i32[]  ticks; the makespan once done
    next_op: Array  # i32[J]  operations of the job that have begun = index of the next one
    ops_left: Array  # i32[J]  operations that have not begun; 0 in padding
    at: Array  # i32[J]  machine that the job holds; M where none
    # i32[J]  end of the operation begun last, its release date before the first, ticks
    ready: Array
    work_left: Array  # i32[J]  summed duration of the job's operations that have not begun
    load_left: Array  # i32[M]  the same of the machine
    competes: Array  # bool[J]  compete for the machine that is served now
    # bool[J]  move together now, since no machine is served: around cycles, or on where they are
    swaps: Array
    dead: Array  # bool[]  no job can ever move again, or will not: the shop is deadlocked
    start: Array  # i32[J, K]  start of each operation that has begun; 0 otherwise
    baseline: Array  # i32[]  bound on the makespan at time 0
    # bool[M]  `wait` only: not served before the next event or competitor
    declined: Array | None = None
    record: Record | None = None  # where machines fail

    @property
    def done(self) -> Array:
        """bool[]: every operation has begun (and ends by `time`), or the shop is deadlocked."""
        return (self.ops_left == 0).all(-1) | self.dead


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A finished schedule on the host: `start[j][k]` in ticks for the real operations only, and the
    makespan.

    `down[m] = [(from, to), ...]` says when machine m was down, in ticks: every failure that
    happened, and the maintenance windows of the instance.
    """

    start: list[list[int]]
    makespan: int
    down: list[list[tuple[int, int]]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Interruptions:
    """What interrupts a shop, for `interrupt` and `dispatch`.

    A machine fails with `probability` during each operation of length > 0, at a uniform moment of
    it; the repair takes a geometric time with a mean of `mean_repair` times the mean duration of
    the instance (at least one tick), then the operation goes on. `windows`: maintenance as
    (machine, from, to), ticks, half-open; the running operation pauses.
    """

    probability: float = 0.0
    mean_repair: float = 1.0
    windows: tuple[tuple[int, int, int], ...] | list[tuple[int, int, int]] = ()

    def __post_init__(self):
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability is in [0, 1], got {self.probability}")
        if not 0 < self.mean_repair <= 1000:
            raise ValueError(
                f"mean_repair is in (0, 1000], in units of the mean duration, got {self.mean_repair}"
            )
