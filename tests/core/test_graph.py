"""Observations are built from named parts, say what they hold, and pass through transformations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

from jaxsched.core import GraphObservation, UnknownNameError
from jaxsched.core.graph import (
    Actions,
    Edges,
    Nodes,
    actions,
    feature_names,
    nodes,
    relations,
    stack_features,
)
from jaxsched.envs import job_shop
from tests import shapes

ENV = job_shop.JobShop()
RELATIONS = ("waits for", "serves", "precedes")


def jobs(mask=(True, True, False)) -> Nodes:
    """Three jobs, the last one masked."""
    real = jnp.asarray(mask)
    return nodes("job", real, {"work": jnp.arange(1, 4), "is late": ~real})


def machines() -> Nodes:
    return nodes("machine", jnp.ones((2,), jnp.bool_), {"speed": jnp.asarray([0.5, 2.0])})


def clock() -> Nodes:
    return nodes("clock", jnp.ones((1,), jnp.bool_), {"now": 3, "share": 0.25, "is there": True})


def groups(shift: int = 0) -> tuple[Actions, ...]:
    """Actions of every form; `shift` moves what the free ones are about."""
    mask = jnp.asarray([[True, True], [True, False], [False, False]])
    free = jnp.asarray([1, 0, 1, 0], jnp.int32)
    return (
        actions("job", kinds=("start",)),
        actions("machine", node=jnp.asarray([1, 1], jnp.int32), kinds=("clean",)),
        actions("job", uses="machine", resource=jnp.asarray([1, 0, 1], jnp.int32), kinds=("run",)),
        actions(
            "job",
            uses="machine",
            kinds=("move",),
            mask=mask,
            features={"cost": jnp.arange(6).reshape(3, 2), "gain": mask},
        ),
        actions(
            "machine",
            uses="job",
            node=free,
            resource=(free + shift) % 3,
            kinds=("swap", "start", "swap", "wait"),
            mask=jnp.asarray([True, True, True, False]),
            features={"gain": jnp.asarray([1.0, 2.0, 3.0, 4.0])},
        ),
        actions("clock", kinds=("wait",)),
    )


NUM_ACTIONS = 3 + 2 + 3 + 6 + 4 + 1


def blocks(last: int = 3) -> dict[tuple[str, str], jax.Array | np.ndarray]:
    return {
        ("job", "machine"): np.array([[0, 1], [1, 0], [0, 0]]),
        ("machine", "job"): jnp.asarray([[0, 2, 0], [2, 0, 0]]),
        ("clock", "clock"): jnp.asarray([[last == 3]]),
        ("job", "job"): jnp.where(np.eye(3, k=1, dtype=bool), last, 0),
    }


def build(last: int = 3, shift: int = 0, mask=(True, True, False)) -> GraphObservation:
    parts = jobs(mask), machines(), clock()
    legal = jnp.ones((NUM_ACTIONS,), jnp.bool_)
    return GraphObservation(parts, relations(parts, blocks(last)), groups(shift), legal, RELATIONS)


# -------------------------------------------------------------------------------- features by name


def test_features_have_names_and_keep_their_order():
    made = jobs()
    assert (made.kind, made.names) == ("job", ("work", "is late"))
    np.testing.assert_array_equal(made["work"], [1, 2, 0])
    np.testing.assert_array_equal(made.features, [[1, 0], [2, 0], [0, 0]])
    assert made.features.dtype == jnp.float32
    with pytest.raises(UnknownNameError, match="unknown feature of job 'speed'; known: "):
        made["speed"]


def test_features_of_any_dtype_and_one_number_for_all():
    mask = jnp.asarray([True, False, True])
    many = {
        "integer": jnp.asarray([1, 2, 3], jnp.int8),
        "boolean": mask,
        "of NumPy": np.array([1.5, 2.5, 3.5]),
        "number": 2,
        "scalar": jnp.float32(0.5),
    }
    made = nodes("any", mask, many)
    assert made.names == tuple(many)
    assert made.features.dtype == jnp.float32
    np.testing.assert_array_equal(
        made.features, [[1, 1, 1.5, 2, 0.5], [0, 0, 0, 0, 0], [3, 1, 3.5, 2, 0.5]]
    )


def test_features_are_clipped_and_zero_where_masked():
    values = jnp.asarray([-1e9, -10.0, 9.0, 10.5, jnp.inf, jnp.nan, 7.0])
    mask = np.array([1, 1, 1, 1, 1, 0, 0], np.bool_)
    np.testing.assert_array_equal(
        nodes("any", mask, {"x": values})["x"], [-10, -10, 9, 10, 10, 0, 0]
    )
    np.testing.assert_array_equal(
        actions("any", mask=mask, features={"x": values})["x"], [-10, -10, 9, 10, 10, 0, 0]
    )


def test_features_are_stacked_last():
    mask = np.ones((4, 2), np.bool_)
    stacked = stack_features([jnp.zeros((4, 2)), jnp.ones((4, 1)), jnp.asarray(2)], mask)
    assert stacked.shape == (4, 2, 3)
    np.testing.assert_array_equal(stacked[3, 1], [0, 1, 2])


def test_features_of_actions():
    start, _, _, move, swap, _ = groups()
    assert (start.features, start.names) == (None, ())
    # of all pairs: the resource runs fastest
    assert move.names == ("cost", "gain")
    np.testing.assert_array_equal(move["cost"], [0, 1, 2, 0, 0, 0])
    np.testing.assert_array_equal(move["gain"], [1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(swap["gain"], [1, 2, 3, 0])
    with pytest.raises(ValueError, match="features of actions about 'job' need a mask"):
        actions("job", features={"x": jnp.zeros(3)})
    with pytest.raises(UnknownNameError, match=r"unknown feature of .* 'gain'"):
        start["gain"]


def test_the_names_of_all_features():
    assert feature_names(build()) == {
        "job": ("work", "is late"),
        "machine": ("speed",),
        "clock": ("now", "share", "is there"),
        "move job on machine": ("cost", "gain"),
        "swap / start / swap / wait machine on job": ("gain",),
    }
    names = ENV.features()
    assert list(names) == ["job"]
    seen = jax.eval_shape(observe, shapes.mixed_instances(1)[0])
    assert names == feature_names(seen)
    assert "duration / unit" in names["job"]


# --------------------------------------------------------------------------------- relations


def test_relations_are_made_of_blocks():
    relation = build().relation
    assert relation.dtype == jnp.int8
    np.testing.assert_array_equal(
        relation,
        [
            [0, 3, 0, 0, 1, 0],
            [0, 0, 3, 1, 0, 0],
            [0, 0, 0, 0, 0, 0],
            [0, 2, 0, 0, 0, 0],
            [2, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 1],
        ],
    )


def test_no_blocks_are_no_relations():
    parts = jobs(), machines()
    np.testing.assert_array_equal(relations(parts, {}), np.zeros((5, 5), np.int8))
    assert relations(parts[:1], {("job", "job"): np.eye(3, dtype=bool)}).dtype == jnp.int8


def test_edges_are_listed_on_demand():
    seen = build()
    edges = seen.edges
    assert all(leaf.shape == (36,) for leaf in jax.tree.leaves(edges))
    assert edges.mask.dtype == jnp.bool_
    assert {leaf.dtype for leaf in (edges.senders, edges.receivers, edges.relation)} == {
        jnp.dtype(jnp.int32)
    }
    again = np.zeros((6, 6), np.int32)
    again[edges.receivers, edges.senders] = edges.relation
    np.testing.assert_array_equal(again, seen.relation)
    np.testing.assert_array_equal(edges.mask, np.ravel(seen.relation) > 0)


def test_a_list_of_edges_stays():
    ids = jnp.asarray([0, 5], jnp.int32)
    edges = Edges(ids, ids[::-1], jnp.asarray([1, 3], jnp.int32), jnp.asarray([True, False]))
    seen = build().replace(relation=edges)
    assert seen.edges is edges
    np.testing.assert_array_equal(seen.graph.senders, [0, 5])
    np.testing.assert_array_equal(seen.graph.edges, [[1], [3]])
    np.testing.assert_array_equal(seen.graph.n_edge, [2])


def test_as_jraph_knows_graphs():
    seen = build()
    graph = seen.graph
    assert isinstance(graph, jraph.GraphsTuple)
    np.testing.assert_array_equal(
        graph.nodes,
        [[1, 0, 0], [2, 0, 0], [0, 0, 0], [0.5, 0, 0], [2, 0, 0], [3, 0.25, 1]],
    )
    np.testing.assert_array_equal(graph.edges[:, 0], seen.edges.relation)
    np.testing.assert_array_equal(graph.senders, seen.edges.senders)
    np.testing.assert_array_equal(graph.receivers, seen.edges.receivers)
    assert (graph.n_node.tolist(), graph.n_edge.tolist(), graph.globals) == ([6], [36], None)


# ------------------------------------------------------------------------- nodes and actions


def test_nodes_are_numbered_kind_after_kind():
    seen = build()
    assert seen.starts == {"job": 0, "machine": 3, "clock": 5}
    np.testing.assert_array_equal(seen.node_mask, [1, 1, 0, 1, 1, 1])
    np.testing.assert_array_equal(seen.node_kind, [0, 0, 0, 1, 1, 2])
    assert seen["machine"] is seen.nodes[1]
    assert seen["clock"]["share"] == 0.25


def test_a_single_kind_of_nodes():
    parts = (jobs(),)
    start = (actions("job"),)
    seen = GraphObservation(parts, relations(parts, {}), start, parts[0].mask)
    assert (seen.starts, seen.relation_names, seen.action_kinds) == ({"job": 0}, (), ("act",))
    np.testing.assert_array_equal(seen.node_mask, parts[0].mask)
    np.testing.assert_array_equal(seen.graph.nodes, parts[0].features)
    np.testing.assert_array_equal(seen.action_node, [0, 1, 2])


ENDS = {
    "each node": ([0, 1, 2], [0, 1, 2]),
    "given nodes": ([4, 4], [4, 4]),
    "each node with a resource": ([0, 1, 2], [4, 3, 4]),
    "all pairs": ([0, 0, 1, 1, 2, 2], [3, 4, 3, 4, 3, 4]),
    "given nodes and resources": ([4, 3, 4, 3], [1, 0, 1, 0]),
    "the only node": ([5], [5]),
}


@pytest.mark.parametrize("form", ENDS)
def test_what_actions_are_about(form: str):
    seen, number = build(), list(ENDS).index(form)
    node, resource = seen.ends(seen.actions[number])
    assert (node.dtype, resource.dtype) == (jnp.int32, jnp.int32)
    np.testing.assert_array_equal(node, ENDS[form][0])
    np.testing.assert_array_equal(resource, ENDS[form][1])


def test_actions_are_numbered_group_after_group():
    seen = build()
    node, resource = (np.concatenate([ends[i] for ends in ENDS.values()]) for i in (0, 1))
    assert len(node) == NUM_ACTIONS
    np.testing.assert_array_equal(seen.action_node, node)
    np.testing.assert_array_equal(seen.action_resource, resource)
    assert seen.action_kinds == ("start", "clean", "run", "move", "swap", "wait")


# ------------------------------------------------------------------------------ transformations


def observe(instance) -> GraphObservation:
    return ENV.reset(jax.random.key(0), instance)[1].observation


def test_shapes_of_an_environment():
    seen = jax.eval_shape(observe, shapes.mixed_instances(1)[0])
    names = seen["job"].names
    assert [part.kind for part in seen.nodes] == ["job"]
    assert seen["job"].features.shape == (shapes.JOBS, len(names))
    assert seen.relation.shape == (shapes.JOBS, shapes.JOBS)
    assert seen.action_mask.shape == (shapes.JOBS,)
    assert (len(seen.actions), seen.action_kinds) == (1, ("dispatch",))
    assert seen.relation_names == ("other job", "competes")


def test_names_are_no_leaves():
    leaves = jax.tree.leaves(jax.eval_shape(observe, shapes.mixed_instances(1)[0]))
    known = (jnp.float32, jnp.int8, jnp.int32, jnp.bool_)
    assert all(leaf.dtype in known for leaf in leaves)
    seen = build()
    job, machine, last = seen.nodes
    others = [
        build(),
        seen.replace(relation_names=("a", "b", "c")),
        seen.replace(nodes=(job.replace(names=("a", "b")), machine, last)),
        seen.replace(nodes=(job.replace(kind="task"), machine, last)),
        seen.replace(actions=(seen.actions[0].replace(kinds=("go",)), *seen.actions[1:])),
        seen.replace(relation=seen.edges),
    ]
    structures = [jax.tree.structure(other) for other in others]
    assert structures[0] == jax.tree.structure(seen)
    assert len(set(structures)) == len(others)


def everything(seen: GraphObservation) -> dict[str, object]:
    """All that an observation says on demand, in arrays."""
    return {
        "ends": [seen.ends(group) for group in seen.actions],
        "action_node": seen.action_node,
        "action_resource": seen.action_resource,
        "node_mask": seen.node_mask,
        "edges": seen.edges,
        "graph": seen.graph,
        "work": seen["job"]["work"],
        "cost": seen.actions[3]["cost"],
    }


def test_a_batch_says_what_each_of_it_says():
    given = [(3, 0, (True, True, False)), (1, 1, (False, True, True)), (2, 2, (True, False, True))]
    single = [build(*each) for each in given]
    columns = (jnp.asarray(column) for column in zip(*given, strict=True))
    batch = jax.jit(jax.vmap(build))(*columns)
    assert isinstance(batch, GraphObservation)
    for made, wanted in (
        (batch, jax.tree.map(lambda *leaves: jnp.stack(leaves), *single)),
        (everything(batch), jax.tree.map(lambda *x: jnp.stack(x), *map(everything, single))),
        (jax.vmap(everything)(batch), everything(batch)),
    ):
        jax.tree.map(np.testing.assert_array_equal, made, wanted)
    assert (batch.starts, batch.action_kinds) == (single[0].starts, single[0].action_kinds)
    np.testing.assert_array_equal(batch.node_kind, single[0].node_kind)
    assert feature_names(batch) == feature_names(single[0])


def test_a_batch_of_batches():
    """As a rollout keeps it: two leading axes."""
    batch = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (2, 3, *leaf.shape)), build())
    one, many = everything(build()), everything(batch)
    for leaf, wanted in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True):
        np.testing.assert_array_equal(leaf, np.broadcast_to(wanted, (2, 3, *wanted.shape)))


def test_it_is_batched_and_taken_apart():
    instances = shapes.mixed_instances(3)
    batch = jax.jit(jax.vmap(observe))(shapes.stacked(instances))
    assert isinstance(batch, GraphObservation)
    assert batch["job"].features.shape[0] == 3
    masks = [np.arange(shapes.JOBS) < instance.op_mask.any(1).sum() for instance in instances]
    np.testing.assert_array_equal(batch.action_mask, masks)
    np.testing.assert_array_equal(batch.node_mask, masks)
    assert batch.relation_names == ("other job", "competes")


def test_it_is_built_without_implicit_promotion():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        seen = jax.jit(build)()
        jax.jit(everything)(seen)
