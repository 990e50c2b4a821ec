"""The settings of `SoC-v0`, by the names that `make` takes."""

from __future__ import annotations

import dataclasses

from jaxsched.core import settings

VIEWS = ("joint", "fifo", "order")
ORDER_MAPPINGS = ("heft_rt", "eft")
CAP_MODES = ("ds3", "socrates", "open")
COMMUNICATION = ("pe_to_pe", "shared_memory")
DISPATCH_ORDERS = ("job_id", "insertion")
REWARDS = ("latency", "jobs_in_system", "socrates", "makespan")
PLANS = ("heft", "peft")  # of each job alone, in the order of `System.plan_pe`
HEFT_RT = ("heft_rt", "heft_rt_released")
WITH_BOOKS = (*HEFT_RT, *PLANS, "etf_lb")  # rules that keep books of their own


@dataclasses.dataclass(frozen=True)
class Settings(settings.Settings):
    """The README says what each value means. Raises `UnknownNameError` and `ValueError`."""

    view: str = "joint"  # what an action is (`views.py`)
    order_mapping: str = "heft_rt"  # view `order`: who chooses the PE
    cap_mode: str = "ds3"  # when a job may enter
    communication: str = "pe_to_pe"
    # the queue is sorted by job (DS3), or in order of decisions (SoCRATES, DASH-Sim)
    dispatch_order: str = "job_id"
    # Every decision, whoever takes it, also does what this rule does beyond its choice of a PE.
    # HEFT_RT, HEFT, PEFT: the task waits for the one before it in their plan. `etf_lb`: its
    # counters go on.
    rule: str | None = None
    reward: str = "latency"
    record: bool = True  # of every task, which `solution` needs

    def __post_init__(self):
        super().__post_init__()
        self.require_known("view", VIEWS)
        self.require_known("order_mapping", ORDER_MAPPINGS)
        self.require_known("cap_mode", CAP_MODES)
        self.require_known("communication", COMMUNICATION)
        self.require_known("dispatch_order", DISPATCH_ORDERS)
        self.require_known("reward", REWARDS)
        if self.rule is not None:
            self.require_known("rule", WITH_BOOKS)

    @property
    def rule_in_force(self) -> str | None:
        """`rule`; HEFT_RT, whose plan orders each PE, where it maps an order and none is given."""
        if self.rule is None and self.view == "order" and self.order_mapping == "heft_rt":
            return "heft_rt"
        return self.rule

    @property
    def plans(self) -> bool:
        """Tasks may have to wait for another one of their PE."""
        return self.rule_in_force in (*HEFT_RT, *PLANS)

    @property
    def objective(self) -> str:
        """What is minimised: `latency`, `jobs_in_system` or `makespan`."""
        return "latency" if self.reward == "socrates" else self.reward
