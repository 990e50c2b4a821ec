"""The contract of an environment, as checks that know no family: run them on your own environment
too.

>>> from jaxsched.testing import check_environment
>>> check_environment(MyEnvironment(), my_source)

Everything is played on one padded shape in a few compiled programs, so the contract takes seconds,
not minutes.

Wrappers are environments and keep the contract too. What changes nothing leaves the state inside
all wrappers as it was; a wrapper may count it. An `AutoReset` is a stream without an end, whose
steps draw the instances to come: it keeps what the contract says about single steps,
`STREAM_CHECKS`.
"""

from __future__ import annotations

from collections.abc import Sequence

from jax import Array, random

from jaxsched.core import AutoReset, Environment, Source
from jaxsched.core.environment import Instance
from jaxsched.host.errors import UnknownNameError
from jaxsched.testing.checks import CHECKS, STREAM_CHECKS
from jaxsched.testing.play import Subject

__all__ = ["CHECKS", "STREAM_CHECKS", "check_environment"]


def check_environment(
    env: Environment,
    source: Source,
    *,
    num_instances: int = 12,
    key: Array | None = None,
    exact: Sequence[tuple[Instance, int]] = (),
    checks: Sequence[str] | None = None,
) -> None:
    """Raise AssertionError, naming every check that failed and why, unless `env` keeps the
    contract.

    `source` draws `num_instances` instances with `key`; small ones of different sizes find most.
    `exact` are pairs of an instance, small enough for exhaustive search, and its optimum; all are
    of one shape. `checks` limits the run to some of the names in `CHECKS`. A check that needs a
    program compiles it when it runs. The instances of an `AutoReset` are indices into its own pool,
    so it is its own source.
    """
    known = {check.__name__: check for check in CHECKS}
    for name in checks or ():
        if name not in known:
            raise UnknownNameError("check", name, known)
    if isinstance(env, AutoReset):
        source, checks = env.default_source, STREAM_CHECKS if checks is None else checks
    subject = Subject(env, source, num_instances, random.key(0) if key is None else key, exact)
    failures = []
    for name in known if checks is None else checks:
        try:
            known[name](subject)
        except AssertionError as error:
            failures.append(f"{name}: {error}")
        except Exception as error:
            error.add_note(f"raised in the check {name!r} of {env}")
            raise
    if failures:
        raise AssertionError(f"{env} breaks the contract:\n" + "\n".join(failures))
