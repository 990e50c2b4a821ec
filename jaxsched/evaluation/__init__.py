"""Evaluation: every reported number passes through the family's `validate`."""

from jaxsched.core.identity import instance_hash
from jaxsched.evaluation.comparison import (
    TEMPERATURE,
    best_temperature,
    compare,
    comparison,
    exact_entry,
    generate,
    load_groups,
    load_one,
    policy_entries,
    randomised_entry,
    rule_entries,
    tracker,
)
from jaxsched.evaluation.evaluate import evaluate, evaluate_exact
from jaxsched.evaluation.report import write_json
from jaxsched.evaluation.results import InvalidSolutionError, Report, Row, mean_gap
from jaxsched.evaluation.rules import randomised_rule, rule_policy
from jaxsched.evaluation.throughput import Throughput, step_cost, throughput

__all__ = [
    "TEMPERATURE",
    "InvalidSolutionError",
    "Report",
    "Row",
    "Throughput",
    "best_temperature",
    "compare",
    "comparison",
    "evaluate",
    "evaluate_exact",
    "exact_entry",
    "generate",
    "instance_hash",
    "load_groups",
    "load_one",
    "mean_gap",
    "policy_entries",
    "randomised_entry",
    "randomised_rule",
    "rule_entries",
    "rule_policy",
    "step_cost",
    "throughput",
    "tracker",
    "write_json",
]
