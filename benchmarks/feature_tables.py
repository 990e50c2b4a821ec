"""The tables of what a policy sees, in the READMEs of the environments.

    python benchmarks/feature_tables.py

Rewrites, in the README beside each environment, what stands between the lines
`<!-- features of ID -->` and `<!-- end -->`. A variant, a setting that changes what is seen, shows
what it adds; where it sees something else, all of it. `tests/test_features.py` fails where a README
says anything else.
"""

from __future__ import annotations

import inspect
import pathlib
from typing import Any

import jaxsched
from jaxsched.policies.network import example_observation

# By id the settings that change, or could change, what is seen.
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "JobShop-v0": (
        {"objective": "weighted_tardiness"},
        {"candidates": "insert"},
        {"candidates": "event"},
        {"observation": "operations"},
        {"candidates": "insert", "observation": "l2d"},
        {"candidates": "event", "observation": "tassel"},
    ),
    "FlexibleJobShop-v0": (),
    "BlockingJobShop-v0": ({"wait": True},),
    "SoC-v0": ({"view": "fifo"}, {"view": "order"}),
    "MemoryMap-v0": (),
    "StaticAllocation-v0": (),
    "TensorReplacement-v0": (),
}
HEAD = "| setting | part | what a policy sees |\n|---|---|---|\n"
Parts = dict[str, tuple[str, ...]]  # names by node, relations or action, all as the table says


def parts(env: jaxsched.Environment) -> Parts:
    """The names of all features, of the relations, and the actions, in the order of the table."""
    seen = example_observation(env, env.default_source)
    features = env.features()
    nodes = {f"node `{nodes.kind}`": features[nodes.kind] for nodes in seen.nodes}
    actions = {f"action `{group.form}`": group.names for group in seen.actions}
    return nodes | {"relations": seen.relation_names} | actions


def table(env_id: str) -> str:
    """The Markdown table of an environment and its variants."""
    base = parts(jaxsched.make(env_id))
    text = HEAD + rows("default", base, {})
    for setting in VARIANTS[env_id]:
        label = ", ".join(f"`{name}={quoted(value)}`" for name, value in setting.items())
        text += rows(label, *addition(parts(jaxsched.make(env_id, **setting)), base))
    return text


def quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def addition(shown: Parts, base: Parts) -> tuple[Parts, Parts]:
    """What a variant adds to `base`, and the base; all that it shows, and nothing, where it does
    not show all of the base.
    """
    if not all(set(names) <= set(shown.get(part, ())) for part, names in base.items()):
        return shown, {}
    new = {
        part: tuple(name for name in names if name not in base.get(part, ()))
        for part, names in shown.items()
        if part not in base or set(names) - set(base[part])
    }
    return new, base


def rows(label: str, shown: Parts, base: Parts) -> str:
    """Rows of the table for one setting; `base` are parts that were shown before."""
    lines = []
    for part, names in shown.items():
        more = " more" if part in base else ""
        count = "" if part == "relations" else f"{len(names)}{more}: "
        lines.append((part, f"{count}{'; '.join(names)}" if names else "nothing of its own"))
    labels = [label, *[""] * len(lines)]
    lines = lines or [("", "the same")]
    return "".join(
        f"| {label} | {part} | {text} |\n"
        for label, (part, text) in zip(labels, lines, strict=False)
    )


def readme(env_id: str) -> pathlib.Path:
    """The README beside the environment."""
    return pathlib.Path(inspect.getfile(type(jaxsched.make(env_id)))).parent / "README.md"


def split(text: str, env_id: str) -> tuple[str, str, str]:
    """A README before the table of an environment, the table, and after it."""
    before, begin, rest = text.partition(f"<!-- features of {env_id} -->\n")
    found, end, after = rest.partition("<!-- end -->")
    if not begin or not end:
        raise ValueError(f"no <!-- features of {env_id} --> ... <!-- end --> in {readme(env_id)}")
    return before + begin, found, end + after


def main() -> None:
    for env_id in VARIANTS:
        path = readme(env_id)
        before, _, after = split(path.read_text(encoding="utf-8"), env_id)
        path.write_text(before + table(env_id) + after, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
