"""The graph actor-critic: equal back ends on any multigraph, masks, padding, gradients."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

from jaxsched.core import GraphObservation, UnknownNameError
from jaxsched.policies import NetworkConfig, greedy_policy, init_network, sampling_policy

NODES, EDGES, ACTIONS, FEATURES, PAIR = 6, 24, 5, 3, 2
BACKENDS = "dense", "segment"


def observation(seed: int, legal: float = 0.7, real: float = 0.8) -> GraphObservation:
    """A random multigraph: parallel edges, loops, nodes without edges, masked ones of
    everything.
    """
    rng = np.random.default_rng(seed)
    node_mask = rng.random(NODES) < real
    senders, receivers = rng.integers(0, NODES - 1, (2, EDGES)).astype(np.int32)
    senders[-3:], receivers[-3:] = senders[:3], receivers[:3]  # at least these are parallel
    edge_mask = (rng.random(EDGES) < 0.8) & node_mask[senders] & node_mask[receivers]
    nodes = rng.normal(size=(NODES, FEATURES)).astype(np.float32) * node_mask[:, None]
    return GraphObservation(
        graph=jraph.GraphsTuple(
            nodes=nodes,
            edges=None,
            senders=senders,
            receivers=receivers,
            globals=None,
            n_node=np.array([NODES], np.int32),
            n_edge=np.array([EDGES], np.int32),
        ),
        node_mask=node_mask,
        node_kind=rng.integers(0, 2, NODES).astype(np.int32),
        edge_mask=edge_mask,
        edge_kind=rng.integers(0, 3, EDGES).astype(np.int32),
        action_node=rng.integers(0, NODES, ACTIONS).astype(np.int32),
        action_resource=rng.integers(0, NODES, ACTIONS).astype(np.int32),
        action_kind=rng.integers(0, 2, ACTIONS).astype(np.int32),
        action_features=rng.normal(size=(ACTIONS, PAIR)).astype(np.float32),
        action_mask=rng.random(ACTIONS) < legal,
        num_node_kinds=2,
        num_edge_kinds=3,
        num_action_kinds=2,
    )


# the last has nothing real
BATCH = [observation(seed) for seed in range(12)] + [observation(99, legal=0, real=0)]


@functools.cache
def network(backend: str):
    """`apply`, parameters drawn at random (all of them, so that all inputs matter), and a jitted
    batch evaluation.
    """
    apply, params = init_network(
        jax.random.key(0),
        BATCH[0],
        NetworkConfig(width=16, num_layers=2, num_heads=2, backend=backend),
    )
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), params)

    def evaluate(params, observation, weight):
        logits, value = apply(params, observation)
        return (logits * weight).sum() + value, (logits, value)

    derived = jax.grad(evaluate, has_aux=True)
    return apply, params, jax.jit(jax.vmap(derived, in_axes=(None, 0, 0)))


def evaluate(backend: str, observations, params=None):
    """Gradients by parameters, logits and values of a batch."""
    _, own, evaluated = network(backend)
    weight = np.random.default_rng(2).normal(size=(len(observations), ACTIONS)).astype(np.float32)
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *observations)
    gradient, (logits, value) = jax.device_get(
        evaluated(own if params is None else params, batch, weight)
    )
    return gradient, logits, value


def test_back_ends_are_equal_in_values_and_gradients():
    (gradient, logits, value), (other_gradient, other_logits, other_value) = (
        evaluate(b, BATCH) for b in BACKENDS
    )
    assert np.ptp(logits) > 1
    np.testing.assert_allclose(logits, other_logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(value, other_value, rtol=1e-4, atol=1e-4)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(gradient), jax.tree.leaves(other_gradient), strict=True
    ):
        name = jax.tree_util.keystr(path)
        assert np.abs(a).max() > 1e-3, f"{name} does not matter"
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(a).max(), err_msg=name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_real_and_extreme_logits_stay_finite(backend):
    large = jax.tree.map(lambda leaf: 20 * leaf, network(backend)[1])
    for params in (None, large):
        for leaf in jax.tree.leaves(evaluate(backend, BATCH, params)):
            assert np.isfinite(leaf).all()


def test_a_masked_edge_into_a_node_with_very_low_scores_stays_finite():
    """Its weight is 0, and so is its gradient, although exp(0 - best score) overflows."""
    params = jax.tree.map(np.array, network("segment")[1])
    params["edge_bias"] = np.full_like(params["edge_bias"], -100.0)
    seen = BATCH[0]
    assert (~seen.edge_mask).any()
    gradient, logits, _ = evaluate("segment", [seen] * len(BATCH), params)
    assert np.isfinite(logits).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_masked_does_not_matter(backend):
    """Other edges and kinds behind the masks: the same logits of legal actions, the same value."""
    rng = np.random.default_rng(3)

    def scramble(seen):
        def other(index, mask, size):
            return np.where(mask, index, rng.integers(0, size, index.shape)).astype(np.int32)

        graph = seen.graph._replace(
            senders=other(seen.graph.senders, seen.edge_mask, NODES),
            receivers=other(seen.graph.receivers, seen.edge_mask, NODES),
        )
        return seen.replace(graph=graph, edge_kind=other(seen.edge_kind, seen.edge_mask, 3))

    _, logits, value = evaluate(backend, BATCH)
    _, other_logits, other_value = evaluate(backend, [scramble(seen) for seen in BATCH])
    for i, seen in enumerate(BATCH):
        legal = (
            seen.action_mask
            & seen.node_mask[seen.action_node]
            & seen.node_mask[seen.action_resource]
        )
        np.testing.assert_allclose(other_logits[i][legal], logits[i][legal], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(other_value, value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_edge_at_a_masked_node_does_not_count(backend):
    """Whatever its own mask says."""

    def unmask(seen):
        ends = seen.node_mask[seen.graph.senders] & seen.node_mask[seen.graph.receivers]
        return seen.replace(edge_mask=seen.edge_mask | ~ends)

    _, logits, value = evaluate(backend, BATCH)
    _, other_logits, other_value = evaluate(backend, [unmask(seen) for seen in BATCH])
    assert any((unmask(seen).edge_mask != seen.edge_mask).any() for seen in BATCH)
    np.testing.assert_array_equal(other_logits, logits)
    np.testing.assert_array_equal(other_value, value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_more_padding_does_not_matter(backend):
    """Actions that are padding point to a node that is."""
    apply, params, _ = network(backend)
    seen = BATCH[1]
    sizes = {NODES: NODES + 3, EDGES: EDGES + 5, ACTIONS: ACTIONS + 2}

    def pad(leaf):
        first = leaf.shape[0]
        return np.pad(leaf, [(0, sizes.get(first, first) - first)] + [(0, 0)] * (leaf.ndim - 1))

    padded = jax.tree.map(pad, seen)
    more = np.full(2, NODES, np.int32)
    padded = padded.replace(
        action_node=np.append(seen.action_node, more),
        action_resource=np.append(seen.action_resource, more),
    )
    (logits, value), (padded_logits, padded_value) = (
        jax.jit(apply)(params, x) for x in (seen, padded)
    )
    np.testing.assert_allclose(padded_logits[:ACTIONS], logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(padded_value, value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nodes_and_edges_have_no_order(backend):
    """Renumbered nodes and shuffled edges: the same logits and value."""
    rng = np.random.default_rng(4)
    order, shuffle = rng.permutation(NODES), rng.permutation(EDGES)
    place = np.argsort(order).astype(np.int32)  # old number -> new one

    def renumber(seen):
        graph = seen.graph._replace(
            nodes=seen.graph.nodes[order],
            senders=place[seen.graph.senders][shuffle],
            receivers=place[seen.graph.receivers][shuffle],
        )
        return seen.replace(
            graph=graph,
            node_mask=seen.node_mask[order],
            node_kind=seen.node_kind[order],
            edge_mask=seen.edge_mask[shuffle],
            edge_kind=seen.edge_kind[shuffle],
            action_node=place[seen.action_node],
            action_resource=place[seen.action_resource],
        )

    _, logits, value = evaluate(backend, BATCH)
    _, other_logits, other_value = evaluate(backend, [renumber(seen) for seen in BATCH])
    np.testing.assert_allclose(other_logits, logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(other_value, value, rtol=1e-4, atol=1e-4)


def test_parallel_edges_count_twice():
    """Doubling one edge of two moves the receiver's mean towards its sender: the value changes."""
    seen = BATCH[2]
    first = int(np.flatnonzero(seen.edge_mask)[0])
    spare = int(np.flatnonzero(~seen.edge_mask)[0])
    same = np.flatnonzero(seen.edge_mask & (seen.graph.receivers == seen.graph.receivers[first]))
    assert len(set(seen.graph.senders[same].tolist())) > 1

    def copy(array, value):
        array = array.copy()
        array[spare] = value
        return array

    graph = seen.graph._replace(
        senders=copy(seen.graph.senders, seen.graph.senders[first]),
        receivers=copy(seen.graph.receivers, seen.graph.receivers[first]),
    )
    doubled = seen.replace(
        graph=graph,
        edge_mask=copy(seen.edge_mask, True),
        edge_kind=copy(seen.edge_kind, seen.edge_kind[first]),
    )
    for backend in BACKENDS:
        _, _, value = evaluate(backend, [seen, doubled, *BATCH[2:]])
        assert abs(value[0] - value[1]) > 1e-4


def test_the_first_policy_is_nearly_uniform():
    apply, params = init_network(jax.random.key(0), BATCH[0], NetworkConfig(width=16, num_heads=2))
    logits, value = jax.jit(apply)(params, BATCH[0])
    assert np.abs(logits).max() < 0.1
    assert abs(value) < 0.1
    assert len(np.unique(logits)) > 1
    assert (logits.dtype, logits.shape, value.shape) == (jnp.float32, (ACTIONS,), ())


@pytest.mark.parametrize("make", [greedy_policy, sampling_policy])
def test_policies_take_legal_actions(make):
    apply, params, _ = network("dense")
    policy = make(apply, params)
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *BATCH)
    keys = jax.random.split(jax.random.key(0), len(BATCH))
    actions = jax.jit(jax.vmap(lambda key, seen: policy(key, None, seen)))(keys, batch)
    for seen, action in zip(BATCH, actions.tolist(), strict=True):
        assert seen.action_mask[action] if seen.action_mask.any() else action == 0
    if make is greedy_policy:
        _, logits, _ = evaluate("dense", BATCH)
        assert actions.tolist() == np.where(batch.action_mask, logits, -np.inf).argmax(-1).tolist()


def test_bad_settings_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean segment"):
        NetworkConfig(backend="segments")
    with pytest.raises(ValueError, match="multiple of num_heads"):
        NetworkConfig(width=10, num_heads=4)
