"""Write the hashes by which published job shops are recognised: `data/hashes.json` of the classic
and flexible shops.

    JAXSCHED_DATA=FOLDER python benchmarks/instance_hashes.py

Every instance that has published bounds is loaded by its name, from the package or from the data
folder. Two names of one and the same instance are an error unless their bounds agree.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from jaxsched.core.identity import instance_hash
from jaxsched.envs import job_shop
from jaxsched.envs.job_shop import flexible


def hashes_of(problem) -> dict[str, str]:
    """The first 16 digits of `instance_hash` -> the name, of every published instance of the
    problem.
    """
    found: dict[str, str] = {}
    for family in problem.instance_sets():
        for name in problem.expand(family):
            digits = instance_hash(problem.load(name))[:16]
            other = found.setdefault(digits, name)
            if problem.bounds(other) != problem.bounds(name):
                raise ValueError(
                    f"{name} and {other} are the same instance, but their bounds differ"
                )
    return found


def main() -> None:
    for problem in (job_shop, flexible):
        path = Path(str(resources.files(problem.__name__) / "data" / "hashes.json"))
        path.write_text(json.dumps(hashes_of(problem), indent=0) + "\n", encoding="utf-8")
        print(
            f"{path.name}: {len(json.loads(path.read_text(encoding='utf-8')))} instances of {problem.__name__}"
        )


if __name__ == "__main__":
    main()
