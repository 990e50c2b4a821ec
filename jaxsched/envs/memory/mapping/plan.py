"""Plans of a program on the host: an action per access, and what each of them did."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple


class Step(NamedTuple):
    """One decision of `replay_program`."""

    access: int  # its position in program order
    legal: list[int]  # ascending; 0 COPY, 1 NOCOPY, 2 DROP
    action: int
    reward: int  # ticks that the program gets shorter
    # address in bytes where the access finds the value in fast memory; None where it is slow
    offset: int | None


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """An action per access. `bound <= optimum <= latency <= baseline`; `proved`: bound and latency
    meet.

    Not `feasible`: the actions end where no action is legal, and the latency is the baseline.
    `method` is what found the actions; where that is not the method that was asked for, `note` says
    why.
    """

    actions: tuple[int, ...]
    latency: int  # ticks
    baseline: int  # ticks with every access in slow memory
    bound: int  # no plan is faster
    feasible: bool = True
    method: str = ""
    seconds: float = 0.0
    note: str = ""

    @property
    def proved(self) -> bool:
        """No plan is faster."""
        return self.feasible and self.latency == self.bound

    def __str__(self) -> str:
        saved = 100 * (1 - self.latency / self.baseline) if self.baseline else 0.0
        state = "" if self.feasible else " (dead end)"
        return (
            f"latency {self.latency}{' (optimal)' if self.proved else state}, bound {self.bound}, baseline "
            f"{self.baseline}, {saved:.2f} % saved, {self.method} in {self.seconds:.2f} s"
            f"{f'; {self.note}' if self.note else ''}"
        )
