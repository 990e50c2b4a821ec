"""The observation passes through transformations; its numbers of kinds are static."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched.core import GraphObservation
from jaxsched.envs import job_shop
from tests import shapes

ENV = job_shop.JobShop()


def observe(instance) -> GraphObservation:
    return ENV.reset(jax.random.key(0), instance)[1].observation


def test_shapes_and_kinds():
    num_nodes, num_edges = shapes.JOBS + shapes.MACHINES, shapes.JOBS**2
    seen = jax.eval_shape(observe, shapes.mixed_instances(1)[0])
    assert seen.node_mask.shape == (num_nodes,)
    assert seen.graph.nodes.shape[0] == num_nodes
    assert (
        seen.edge_mask.shape
        == seen.graph.senders.shape
        == seen.graph.receivers.shape
        == (num_edges,)
    )
    assert seen.action_mask.shape == seen.action_features.shape[:1] == (shapes.JOBS,)
    assert (seen.num_node_kinds, seen.num_edge_kinds, seen.num_action_kinds) == (2, 2, 1)


def test_numbers_of_kinds_are_no_leaves():
    leaves = jax.tree.leaves(jax.eval_shape(observe, shapes.mixed_instances(1)[0]))
    assert all(leaf.dtype in (jnp.float32, jnp.int32, jnp.bool_) for leaf in leaves)
    structures = {jax.tree.structure(make) for make in map(with_kinds, (1, 2, 2))}
    assert len(structures) == 2


def with_kinds(num_kinds: int) -> GraphObservation:
    return jax.eval_shape(observe, shapes.mixed_instances(1)[0]).replace(num_node_kinds=num_kinds)


def test_it_is_batched_and_taken_apart():
    instances = shapes.mixed_instances(3)
    batch = jax.jit(jax.vmap(observe))(shapes.stacked(instances))
    assert isinstance(batch, GraphObservation)
    assert batch.graph.nodes.shape[0] == 3
    masks = [np.arange(shapes.JOBS) < instance.op_mask.any(1).sum() for instance in instances]
    np.testing.assert_array_equal(batch.action_mask, masks)
    assert batch.num_edge_kinds == 2
