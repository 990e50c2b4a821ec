"""What policies see has names, and the READMEs show them."""

from __future__ import annotations

import pytest

import jaxsched
from benchmarks import feature_tables
from jaxsched.core.graph import feature_names
from jaxsched.envs.registry import ENTRY_POINTS
from jaxsched.policies.network import example_observation

SETTINGS = [
    pytest.param(env_id, setting, id="-".join([env_id, *map(str, setting.values())]))
    for env_id, variants in feature_tables.VARIANTS.items()
    for setting in ({}, *variants)
]


def test_every_environment_has_a_table():
    ours = {
        env_id for env_id, entry in ENTRY_POINTS.items() if str(entry).startswith("jaxsched.envs.")
    }
    assert set(feature_tables.VARIANTS) == ours


@pytest.mark.parametrize("env_id", feature_tables.VARIANTS)
def test_readmes_show_the_features(env_id: str):
    text = feature_tables.readme(env_id).read_text(encoding="utf-8")
    _, shown, _ = feature_tables.split(text, env_id)
    assert shown == feature_tables.table(env_id), "run: python benchmarks/feature_tables.py"


@pytest.mark.parametrize(("env_id", "setting"), SETTINGS)
def test_names_are_unique_and_as_many_as_features(env_id: str, setting: dict):
    env = jaxsched.make(env_id, **setting)
    seen = example_observation(env, env.default_source)
    assert env.features() == feature_names(seen)
    for part in (*seen.nodes, *seen.actions):
        width = 0 if part.features is None else part.features.shape[-1]
        assert len(set(part.names)) == len(part.names) == width
    groups = [
        [nodes.kind for nodes in seen.nodes],
        [group.form for group in seen.actions],
        seen.relation_names,
        *(part.names for part in (*seen.nodes, *seen.actions)),
    ]
    for names in groups:
        assert len(set(names)) == len(names)
        assert all(name and name == name.strip() for name in names)
        assert not any(set(name) & set("|;`\n") for name in names)  # what the tables are made of
    with_features = [group for group in seen.actions if group.names]
    forms = [group.form for group in with_features]
    assert [*env.features()] == [*(nodes.kind for nodes in seen.nodes), *forms]


def test_a_readme_without_the_lines_is_refused():
    with pytest.raises(ValueError, match="no <!-- features of SoC-v0 -->"):
        feature_tables.split("<!-- features of JobShop-v0 -->\n<!-- end -->", "SoC-v0")


def test_a_table_shows_what_a_variant_adds():
    base = {"node `job`": ("a", "b"), "relations": ("r",)}
    more = {"node `job`": ("a", "c", "b"), "node `clock`": (), "relations": ("r",)}
    assert feature_tables.rows("more", *feature_tables.addition(more, base)) == (
        "| more | node `job` | 1 more: c |\n|  | node `clock` | nothing of its own |\n"
    )
    assert feature_tables.rows("same", *feature_tables.addition(base, base)) == (
        "| same |  | the same |\n"
    )
    other = {"node `job`": ("a",), "relations": ("r", "s")}
    assert feature_tables.rows("other", *feature_tables.addition(other, base)) == (
        "| other | node `job` | 1: a |\n|  | relations | r; s |\n"
    )
