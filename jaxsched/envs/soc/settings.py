"""What is compiled into the rules of DS3, by the names of its variants."""

from __future__ import annotations

import dataclasses

from jaxsched.core.errors import UnknownNameError

COMMUNICATION = ("pe_to_pe", "shared_memory")
CAP_MODES = ("ds3", "socrates", "open")
DISPATCH_ORDERS = ("job_id", "insertion")
PLANS = ("heft", "peft")  # of each job alone, in the order of `System.plan_pe`
HEFT_RT = ("heft_rt", "heft_rt_released")
WITH_BOOKS = (*HEFT_RT, *PLANS, "etf_lb")  # rules that keep books of their own


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is compiled into the rules."""

    communication: str = "pe_to_pe"
    cap_mode: str = "ds3"
    dispatch_order: str = "job_id"  # the queue is sorted by job (DS3), or in order of decisions (SoCRATES, DASH-Sim)
    # Every decision, whoever takes it, also does what this rule does beyond its choice of a PE. HEFT_RT, HEFT, PEFT:
    # the task waits for the one before it in their plan. `etf_lb`: its counters go on.
    rule: str | None = None

    def __post_init__(self):
        for name, value, known in (
            ("communication", self.communication, COMMUNICATION),
            ("cap_mode", self.cap_mode, CAP_MODES),
            ("dispatch_order", self.dispatch_order, DISPATCH_ORDERS),
            ("rule", self.rule, (None, *WITH_BOOKS)),
        ):
            if value not in known:
                raise UnknownNameError(name, str(value), map(str, known))

    @property
    def plans(self) -> bool:
        """Tasks may have to wait for another one of their PE."""
        return self.rule in (*HEFT_RT, *PLANS)
