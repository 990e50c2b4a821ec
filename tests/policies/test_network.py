"""The graph actor-critic: equal back ends on any multigraph, masks, padding, gradients."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched
from jaxsched.core import GraphObservation, UnknownNameError
from jaxsched.core.graph import Actions, Axis, Edges, Nodes
from jaxsched.core.rollout import masked_argmax, unroll
from jaxsched.envs.job_shop.sources import uniform
from jaxsched.policies import NetworkConfig, greedy_policy, init_network, sampling_policy
from jaxsched.policies.attention import _attend_along, _attend_dense, _by_products, _by_sums
from tests import shapes

SIZES = {"job": 4, "machine": 3, "tool": 2}
FEATURES = {"job": 3, "machine": 2, "tool": 1}
NODES, EDGES, FREE, GIVEN = sum(SIZES.values()), 30, 5, 2
RELATIONS = ("a", "b", "c")
BACKENDS = "dense", "segment"
FORMS = "matrix", "list"  # of the relations

# The groups of actions, in their order: each node, given nodes, each node with a resource, all
# pairs, given nodes and resources.
NUM_ACTIONS = 4 + GIVEN + 4 + 3 * 2 + FREE


def observation(seed: int, form: str, legal: float = 0.7, real: float = 0.8) -> GraphObservation:
    """A random graph with actions of all forms: loops, nodes without relations, masked ones of
    everything. As a list its relations are a multigraph, with parallel edges.
    """
    rng = np.random.default_rng(seed)
    nodes = tuple(random_nodes(rng, kind, real) for kind in SIZES)
    mask = np.concatenate([part.mask for part in nodes])
    relation = random_relations(rng, form, mask)
    action_mask = rng.random(NUM_ACTIONS) < legal
    return GraphObservation(nodes, relation, random_actions(rng), action_mask, RELATIONS)


def random_nodes(rng: np.random.Generator, kind: str, real: float) -> Nodes:
    mask = rng.random(SIZES[kind]) < real
    features = normal(rng, SIZES[kind], FEATURES[kind]) * mask[:, None]
    return Nodes(features, mask, kind, tuple(f"feature {i}" for i in range(FEATURES[kind])))


def random_relations(rng: np.random.Generator, form: str, mask: np.ndarray) -> np.ndarray | Edges:
    if form == "matrix":
        some = rng.random((NODES, NODES)) < 0.4
        return (some * rng.integers(1, 4, (NODES, NODES))).astype(np.int8)
    senders, receivers = integers(rng, NODES - 1, 2, EDGES)
    senders[-3:], receivers[-3:] = senders[:3], receivers[:3]  # at least these are parallel
    edge_mask = (rng.random(EDGES) < 0.8) & mask[senders] & mask[receivers]
    return Edges(senders, receivers, 1 + integers(rng, 3, EDGES), edge_mask)


def random_actions(rng: np.random.Generator) -> tuple[Actions, ...]:
    def pairs(number: int, width: int) -> dict:
        names = tuple(f"pair {i}" for i in range(width))
        return {"features": normal(rng, number, width), "names": names}

    nothing = {"features": None, "node": None, "resource": None}
    return (
        Actions(**nothing, about="job", kinds=("start",)),
        Actions(**nothing | {"node": integers(rng, 3, GIVEN)}, about="machine", kinds=("clean",)),
        Actions(
            **nothing | pairs(4, 2) | {"resource": integers(rng, 3, 4)},
            about="job",
            uses="machine",
            kinds=("run",),
        ),
        Actions(**nothing | pairs(6, 1), about="machine", uses="tool", kinds=("mount",)),
        Actions(
            **pairs(FREE, 3),
            node=integers(rng, 2, FREE),
            resource=integers(rng, 4, FREE),
            about="tool",
            uses="job",
            kinds=("start", "wait", "run", "wait", "start"),
        ),
    )


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def integers(rng: np.random.Generator, end: int, *shape: int) -> np.ndarray:
    return rng.integers(0, end, shape).astype(np.int32)


# the last has nothing real
BATCHES = {
    form: [
        *(observation(seed, form) for seed in range(12)),
        observation(99, form, legal=0, real=0),
    ]
    for form in FORMS
}
WAYS = [(backend, form) for backend in BACKENDS for form in FORMS]


@functools.cache
def network(backend: str):
    """`apply`, parameters drawn at random (all of them, so that all inputs matter), and a jitted
    batch evaluation.
    """
    apply, params = init_network(
        jax.random.key(0),
        BATCHES["matrix"][0],
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
    shape = len(observations), len(observations[0].action_mask)
    weight = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *observations)
    gradient, (logits, value) = jax.device_get(
        evaluated(own if params is None else params, batch, weight)
    )
    return gradient, logits, value


def assert_close(result, other):
    """Equal logits and values."""
    for a, b in zip(result[1:], other[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def assert_equal_gradients(gradient, other):
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(gradient), jax.tree.leaves(other), strict=True
    ):
        name = jax.tree_util.keystr(path)
        assert np.abs(a).max() > 1e-3, f"{name} does not matter"
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(a).max(), err_msg=name)


def real_actions(seen: GraphObservation) -> np.ndarray:
    """bool[A]: legal actions whose node and resource are real."""
    mask = np.asarray(seen.node_mask)
    node, resource = np.asarray(seen.action_node), np.asarray(seen.action_resource)
    return seen.action_mask & mask[node] & mask[resource]


# -------------------------------------------------------------------------------------- back ends


@pytest.mark.parametrize("form", FORMS)
def test_back_ends_are_equal_in_values_and_gradients(form):
    one, other = (evaluate(backend, BATCHES[form]) for backend in BACKENDS)
    assert np.ptp(one[1]) > 1
    assert_close(one, other)
    assert_equal_gradients(one[0], other[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_relations_are_the_same_as_a_matrix_and_as_a_list(backend):
    listed = [
        seen.replace(relation=jax.tree.map(np.asarray, seen.edges)) for seen in BATCHES["matrix"]
    ]
    one, other = evaluate(backend, BATCHES["matrix"]), evaluate(backend, listed)
    assert_close(one, other)
    assert_equal_gradients(one[0], other[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_forms_of_actions_that_say_the_same_are_equal(backend):
    """Indices that were left out, written down."""

    def written_down(seen):
        start, clean, run, mount, free = seen.actions
        jobs = np.arange(4, dtype=np.int32)
        machine, tool = np.indices((3, 2), dtype=np.int32)
        return seen.replace(
            actions=(
                start.replace(node=jobs),
                clean,
                run.replace(node=jobs),
                mount.replace(node=machine.ravel(), resource=tool.ravel()),
                free,
            )
        )

    one = evaluate(backend, BATCHES["matrix"])
    other = evaluate(backend, [written_down(seen) for seen in BATCHES["matrix"]])
    assert_close(one, other)
    assert_equal_gradients(one[0], other[0])


@pytest.mark.parametrize(("backend", "form"), WAYS)
def test_nothing_real_and_extreme_logits_stay_finite(backend, form):
    large = jax.tree.map(lambda leaf: 20 * leaf, network(backend)[1])
    for params in (None, large):
        for leaf in jax.tree.leaves(evaluate(backend, BATCHES[form], params)):
            assert np.isfinite(leaf).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_masked_edge_into_a_node_with_very_low_scores_stays_finite(form):
    """Its weight is 0, and so is its gradient, although exp(0 - best score) overflows."""
    params = jax.tree.map(np.array, network("segment")[1])
    params["relation_bias"] = np.full_like(params["relation_bias"], -100.0)
    seen = BATCHES[form][0]
    assert (~np.asarray(seen.edges.mask)).any()
    gradient, logits, _ = evaluate("segment", [seen] * 13, params)
    assert np.isfinite(logits).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


# ----------------------------------------------------------------------------- masks and padding


@pytest.mark.parametrize(("backend", "form"), WAYS)
def test_what_is_masked_does_not_matter(backend, form):
    """Other edges and relations, features of nodes and actions behind the masks: the same logits of
    legal actions, the same value.
    """
    rng = np.random.default_rng(3)

    def other(index, mask, size):
        return np.where(mask, index, rng.integers(0, size, index.shape)).astype(index.dtype)

    def scramble(seen):
        nodes = tuple(
            part.replace(features=part.features + ~part.mask[:, None] * normal(rng, 1))
            for part in seen.nodes
        )
        relation, mask = seen.relation, np.asarray(seen.node_mask)
        if form == "matrix":
            relation = other(relation, mask[:, None] & mask[None], 4)
        else:
            relation = Edges(
                other(relation.senders, relation.mask, NODES),
                other(relation.receivers, relation.mask, NODES),
                other(relation.relation, relation.mask, 4),
                relation.mask,
            )
        actions, first = [], 0
        for group in seen.actions:
            number = len(seen.ends(group)[0])
            if group.features is not None:
                legal = seen.action_mask[first : first + number, None]
                noise = normal(rng, number, 1)
                group = group.replace(features=group.features + ~legal * noise)
            actions.append(group)
            first += number
        return seen.replace(nodes=nodes, relation=relation, actions=tuple(actions))

    _, logits, value = evaluate(backend, BATCHES[form])
    _, other_logits, other_value = evaluate(backend, [scramble(seen) for seen in BATCHES[form]])
    for i, seen in enumerate(BATCHES[form]):
        legal = real_actions(seen)
        np.testing.assert_allclose(other_logits[i][legal], logits[i][legal], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(other_value, value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("backend", "form"), WAYS)
def test_an_edge_at_a_masked_node_does_not_count(backend, form):
    """Whatever its own mask says."""

    def unmask(seen):
        mask = np.asarray(seen.node_mask)
        if form == "matrix":
            real = mask[:, None] & mask[None]
            return seen.replace(relation=np.where(real, seen.relation, 0).astype(np.int8))
        edges = seen.relation
        ends = mask[edges.senders] & mask[edges.receivers]
        return seen.replace(relation=edges.replace(mask=edges.mask | ~ends))

    changed = [unmask(seen) for seen in BATCHES[form]]
    _, logits, value = evaluate(backend, BATCHES[form])
    _, other_logits, other_value = evaluate(backend, changed)
    assert any(
        (np.asarray(new.edges.mask) != np.asarray(old.edges.mask)).any()
        for new, old in zip(changed, BATCHES[form], strict=True)
    )
    np.testing.assert_array_equal(other_logits, logits)
    np.testing.assert_array_equal(other_value, value)


def pad_first(array: np.ndarray, more: int, axes: int = 1) -> np.ndarray:
    """Zeros behind the first `axes` axes."""
    return np.pad(array, [(0, more)] * axes + [(0, 0)] * (array.ndim - axes))


def padded(seen: GraphObservation) -> tuple[GraphObservation, np.ndarray]:
    """The observation with more padding of everything, and where its actions are now. Free actions
    that are padding point to nodes that are.
    """
    more = {"job": 3, "machine": 1, "tool": 2}
    nodes = tuple(
        part.replace(**{name: pad_first(getattr(part, name), more[part.kind]) for name in NODE})
        for part in seen.nodes
    )
    place = np.concatenate([np.arange(4), 7 + np.arange(3), 11 + np.arange(2)])
    if isinstance(seen.relation, Edges):
        edges = jax.tree.map(lambda leaf: pad_first(leaf, 5), seen.relation)
        relation = edges.replace(
            senders=place[edges.senders].astype(np.int32),
            receivers=place[edges.receivers].astype(np.int32),
        )
    else:
        relation = np.zeros((NODES + 6, NODES + 6), np.int8)
        relation[np.ix_(place, place)] = seen.relation
    start, clean, run, mount, free = seen.actions
    pairs = mount.features.reshape(3, 2, 1)
    pairs = np.pad(pairs, [(0, 1), (0, 2), (0, 0)]).reshape(-1, 1)
    actions = (
        start,
        clean.replace(node=np.append(clean.node, np.int32(3))),
        run.replace(features=pad_first(run.features, 3), resource=pad_first(run.resource, 3)),
        mount.replace(features=pairs),
        free.replace(
            features=pad_first(free.features, 2),
            node=np.append(free.node, np.int32([2, 3])),
            resource=np.append(free.resource, np.int32([4, 0])),
            kinds=(*free.kinds, "wait", "run"),
        ),
    )
    where = np.concatenate(
        [
            np.arange(4),
            7 + np.arange(GIVEN),
            10 + np.arange(4),
            17 + (4 * np.arange(3)[:, None] + np.arange(2)).ravel(),
            33 + np.arange(FREE),
        ]
    )
    action_mask = np.zeros(33 + FREE + 2, np.bool_)
    action_mask[where] = seen.action_mask
    return GraphObservation(nodes, relation, actions, action_mask, RELATIONS), where


NODE = "features", "mask"


@pytest.mark.parametrize(("backend", "form"), WAYS)
def test_more_padding_does_not_matter(backend, form):
    apply, params, _ = network(backend)
    seen = BATCHES[form][1]
    more, where = padded(seen)
    assert len(np.asarray(more.action_node)) == len(more.action_mask)
    (logits, value), (padded_logits, padded_value) = (
        jax.jit(apply)(params, x) for x in (seen, more)
    )
    np.testing.assert_allclose(padded_logits[where], logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(padded_value, value, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------ order and multiplicity


@pytest.mark.parametrize(("backend", "form"), WAYS)
def test_nodes_and_edges_have_no_order(backend, form):
    """Renumbered nodes of each kind and shuffled edges: the same logits and value."""
    rng = np.random.default_rng(4)
    order = {kind: rng.permutation(size) for kind, size in SIZES.items()}
    place = {kind: np.argsort(new).astype(np.int32) for kind, new in order.items()}
    starts = dict(zip(SIZES, np.cumsum([0, *SIZES.values()]).tolist(), strict=False))
    all_order = np.concatenate([starts[kind] + order[kind] for kind in SIZES])
    all_place, shuffle = np.argsort(all_order).astype(np.int32), rng.permutation(EDGES)
    # of the actions: those of each node and of all pairs move with their nodes
    job, machine, tool = order.values()
    moved = np.concatenate(
        [
            job,
            4 + np.arange(GIVEN),
            4 + GIVEN + job,
            8 + GIVEN + (2 * machine[:, None] + tool[None]).ravel(),
            14 + GIVEN + np.arange(FREE),
        ]
    )

    def renumber(seen):
        nodes = tuple(
            part.replace(**{name: getattr(part, name)[order[part.kind]] for name in NODE})
            for part in seen.nodes
        )
        if form == "matrix":
            relation = seen.relation[np.ix_(all_order, all_order)]
        else:
            edges = jax.tree.map(lambda leaf: leaf[shuffle], seen.relation)
            relation = edges.replace(
                senders=all_place[edges.senders], receivers=all_place[edges.receivers]
            )
        start, clean, run, mount, free = seen.actions
        actions = (
            start,
            clean.replace(node=place["machine"][clean.node]),
            run.replace(features=run.features[job], resource=place["machine"][run.resource[job]]),
            mount.replace(features=mount.features[moved[8 + GIVEN : 14 + GIVEN] - 8 - GIVEN]),
            free.replace(node=place["tool"][free.node], resource=place["job"][free.resource]),
        )
        return GraphObservation(nodes, relation, actions, seen.action_mask[moved], RELATIONS)

    _, logits, value = evaluate(backend, BATCHES[form])
    _, other_logits, other_value = evaluate(backend, [renumber(seen) for seen in BATCHES[form]])
    np.testing.assert_allclose(other_logits, logits[:, moved], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(other_value, value, rtol=1e-4, atol=1e-4)


def test_parallel_edges_count_twice():
    """Doubling one edge of two moves the receiver's mean towards its sender: the value changes."""
    seen = BATCHES["list"][2]
    edges = seen.relation
    first = int(np.flatnonzero(edges.mask)[0])
    spare = int(np.flatnonzero(~edges.mask)[0])
    same = np.flatnonzero(edges.mask & (edges.receivers == edges.receivers[first]))
    assert len(set(edges.senders[same].tolist())) > 1

    def copy(array):
        array = array.copy()
        array[spare] = array[first]
        return array

    doubled = seen.replace(relation=jax.tree.map(copy, edges))
    for backend in BACKENDS:
        _, _, value = evaluate(backend, [seen, doubled, *BATCHES["list"][2:]])
        assert abs(value[0] - value[1]) > 1e-4


def bare(relation: np.ndarray | Edges, resource: int) -> GraphObservation:
    """All nodes but the last machine are real; the only action that joins nodes is of tool 0 with
    this machine.
    """
    seen = BATCHES["matrix"][0]
    rng = np.random.default_rng(7)
    nodes = tuple(
        Nodes(normal(rng, *part.features.shape), np.ones_like(part.mask), part.kind, part.names)
        for part in seen.nodes
    )
    machine = nodes[1].replace(mask=np.array([True, True, False]))
    start, clean, _, _, _ = seen.actions
    join = Actions(
        features=np.ones((1, 1), np.float32),
        node=np.zeros(1, np.int32),
        resource=np.full(1, resource, np.int32),
        about="tool",
        uses="machine",
        kinds=("mount",),
        names=("one",),
    )
    mask = np.ones(4 + GIVEN + 1, np.bool_)
    return GraphObservation(
        (nodes[0], machine, nodes[2]), relation, (start, clean, join), mask, RELATIONS
    )


def matrix_of(edges: list[tuple[int, int, int]]) -> np.ndarray:
    relation = np.zeros((NODES, NODES), np.int8)
    for receiver, sender, number in edges:
        relation[receiver, sender] = number
    return relation


def list_of(edges: list[tuple[int, int, int]]) -> Edges:
    receivers, senders, numbers = np.array(edges, np.int32).T
    return Edges(senders, receivers, numbers, np.ones(len(edges), np.bool_))


@pytest.mark.parametrize("backend", BACKENDS)
def test_relations_of_one_pair_add_up(backend):
    """What relates a pair in several ways: an edge, another one, and an action that uses a
    resource, as if it were an edge from the resource (relation b here) and back (c).
    """
    tool, machine = SIZES["job"] + SIZES["machine"], SIZES["job"] + 1
    known, once = (tool, machine, 1), (1, machine, 1)
    apply, params = init_network(
        jax.random.key(0),
        bare(matrix_of([known]), 1),
        NetworkConfig(width=16, num_layers=2, num_heads=2, backend=backend),
    )
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), params)
    bias = params["relation_bias"]  # a, b, c, itself, from the resource, back
    bias[4], bias[5] = bias[1], bias[2]

    def value_of(relation, resource=1):
        return float(jax.jit(apply)(params, bare(relation, resource))[1])

    by_edges = list_of([known, once, (tool, machine, 2), (machine, tool, 3)])
    wanted = value_of(by_edges, resource=2)  # the action uses the masked machine
    found = {
        "matrix": value_of(matrix_of([known, once])),
        "list": value_of(list_of([known, once])),
        "without the edge": value_of(matrix_of([once])),
        "without the action": value_of(matrix_of([known, once]), resource=2),
        "with the edge twice": value_of(list_of([known, known, once])),
    }
    for name, value in found.items():
        assert (abs(value - wanted) < 1e-5) == (name in FORMS), (name, value, wanted)

    # Parallel edges add up as well: two of relation b are one that is log(2) stronger.
    twice = value_of(list_of([known, (tool, machine, 2), (tool, machine, 2)]), resource=2)
    bias[2] = bias[1] + np.log(np.float32(2))
    stronger = value_of(list_of([known, (tool, machine, 3)]), resource=2)
    assert abs(twice - stronger) < 1e-5


# ----------------------------------------------------------------------------------------- axes


def axis_of(groups: list[list[int]], num_nodes: int, size: int, ordered: bool) -> Axis:
    """The axis of kind `machine` with these groups."""
    members = np.zeros((len(groups), size), np.int32)
    mask = np.zeros((len(groups), size), np.bool_)
    place = np.full(num_nodes, mask.size, np.int32)
    for number, group in enumerate(groups):
        members[number, : len(group)], mask[number, : len(group)] = group, True
        place[group] = number * size + np.arange(len(group))
    return Axis(mask, members, place, "some", "machine", ordered)


@pytest.mark.parametrize("ordered", [False, True])
def test_attention_along_an_axis_is_attention_between_the_members_of_its_groups(ordered):
    groups, start, total = [[4, 0, 2], [], [1, 5]], 3, 10  # of 6 nodes; 3 is in no group
    axis = axis_of(groups, 6, 4, ordered)
    keys = jax.random.split(jax.random.key(0), 4)
    arguments = [jax.random.normal(key, (total, 2, 8), jnp.float32) for key in keys[:3]]
    strength = jax.random.uniform(keys[3], (3, 2), jnp.float32) + 0.5
    weight = np.zeros((2, total, total), np.float32)
    for group in groups:
        for at, receiver in enumerate(group):
            for of, sender in enumerate(group):
                which = 0 if at == of else 2 if ordered and of > at else 1
                weight[:, receiver + start, sender + start] = strength[which]

    def with_gradients(form):
        def square(*arguments):
            return (form(*arguments) ** 2).sum()

        return form(*arguments), jax.grad(square, (0, 1, 2))(*arguments)

    along = functools.partial(_attend_along, axis, start, total, strength)
    between = functools.partial(_attend_dense, weight)
    found, expected = jax.jit(lambda: (with_gradients(along), with_gradients(between)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5), found, expected)
    assert not found[0][np.array([0, 1, 2, 6, 9])].any()

    in_order = Axis(np.ones((3, 2), np.bool_), None, None, "row", "machine", ordered)
    given = axis_of([[0, 1], [2, 3], [4, 5]], 6, 2, ordered)
    rows = [_attend_along(each, start, total, strength, *arguments) for each in (in_order, given)]
    np.testing.assert_allclose(*rows, 1e-5, 1e-6)


def test_a_network_along_axes_is_blind_to_padding_and_to_the_order_of_jobs():
    env = jaxsched.make("JobShop-v0", observation="operations")
    jobs = [[(0, 3), (1, 5), (0, 2)], [(1, 4)], [(2, 6), (0, 1)]]
    config = NetworkConfig(width=16, num_layers=3, along="axes")

    def logits_of(jobs, num_jobs, num_ops, num_machines):
        instance = shapes.instance_of(jobs, shape=(num_jobs, num_ops, num_machines))
        state, timestep = env.reset(jax.random.key(0), instance)
        apply, params = init_network(jax.random.key(0), timestep.observation, config)
        params = jax.tree.map(lambda leaf: leaf + 0.1, params)
        state, timestep = env.step(jax.random.key(0), state, jnp.int32(0))
        return jax.jit(apply)(params, timestep.observation)

    logits, value = logits_of(jobs, 3, 3, 3)
    padded, padded_value = logits_of(jobs, 5, 4, 4)
    np.testing.assert_allclose(padded[:3], logits, 1e-4, 1e-5)
    np.testing.assert_allclose(padded_value, value, 1e-4, 1e-5)
    turned, _ = logits_of([jobs[0], jobs[2], jobs[1]], 3, 3, 3)
    np.testing.assert_allclose(turned[np.array([0, 2, 1])], logits, 1e-4, 1e-5)
    assert len(np.unique(logits)) > 1


def test_a_network_along_axes_needs_them():
    seen = BATCHES["matrix"][0]
    with pytest.raises(ValueError, match="no axes to attend along"):
        init_network(jax.random.key(0), seen, NetworkConfig(along="axes"))


# ------------------------------------------------------------------------------------- policies


@pytest.mark.parametrize("form", FORMS)
def test_the_first_policy_is_nearly_uniform(form):
    seen = BATCHES[form][0]
    apply, params = init_network(jax.random.key(0), seen, NetworkConfig(width=16, num_heads=2))
    logits, value = jax.jit(apply)(params, seen)
    assert np.abs(logits).max() < 0.1
    assert abs(value) < 0.1
    assert len(np.unique(logits)) > 1
    assert (logits.dtype, logits.shape, value.shape) == (jnp.float32, (NUM_ACTIONS,), ())


def test_parameters_do_not_depend_on_the_form_of_relations_or_the_back_end():
    made = [
        init_network(jax.random.key(0), BATCHES[form][0], NetworkConfig(backend=backend))[1]
        for backend, form in WAYS
    ]
    for other in made[1:]:
        jax.tree.map(np.testing.assert_array_equal, made[0], other)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", [greedy_policy, sampling_policy])
def test_policies_take_legal_actions(make, form):
    apply, params, _ = network("dense")
    policy, observations = make(apply, params), BATCHES[form]
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *observations)
    keys = jax.random.split(jax.random.key(0), len(observations))
    actions = jax.jit(jax.vmap(lambda key, seen: policy(key, None, seen)))(keys, batch)
    for seen, action in zip(observations, actions.tolist(), strict=True):
        assert seen.action_mask[action] if seen.action_mask.any() else action == 0
    if make is greedy_policy:
        _, logits, _ = evaluate("dense", observations)
        assert actions.tolist() == np.where(batch.action_mask, logits, -np.inf).argmax(-1).tolist()


def test_bad_settings_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean segment"):
        NetworkConfig(backend="segments")
    with pytest.raises(UnknownNameError, match="did you mean axes"):
        NetworkConfig(along="axis")
    with pytest.raises(ValueError, match="multiple of num_heads"):
        NetworkConfig(width=10, num_heads=4)


@pytest.mark.parametrize(("num_nodes", "size"), [(1, 5), (7, 16), (10, 32), (33, 64)])
def test_attention_by_sums_is_that_by_products(num_nodes, size):
    """Other devices than a CPU take the sums."""
    keys = jax.random.split(jax.random.key(num_nodes), 5)
    query, key, value = (
        jax.random.normal(each, (num_nodes, 2, size), jnp.float32) for each in keys[:3]
    )
    weight = jax.random.uniform(keys[3], (2, num_nodes, num_nodes), jnp.float32)
    relates = jax.random.bernoulli(keys[4], 0.5, weight.shape).at[:, 0].set(False)
    arguments = jnp.where(relates, weight, 0), query, key, value

    def with_gradients(form):
        def square(*arguments):
            return (form(*arguments) ** 2).sum()

        return form(*arguments), jax.grad(square, (0, 1, 2, 3))(*arguments)

    found, expected = jax.jit(lambda: (with_gradients(_by_sums), with_gradients(_by_products)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-4), found, expected)
    assert not found[0][0].any()  # nothing relates to the first node
    used = jax.jit(lambda: with_gradients(_attend_dense))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-6, 1e-6), used, expected)


def test_an_episode_is_the_same_in_the_forms_of_other_devices(monkeypatch):
    env = jaxsched.make("JobShop-v0", candidates="event")
    instance = uniform(4, 3)(jax.random.key(3))

    def episode(form):
        monkeypatch.setattr(
            jax.lax, "platform_dependent", lambda *args, **forms: forms[form](*args)
        )
        apply, params = init_network(jax.random.key(0), observe(instance), NetworkConfig(width=8))
        first = env.init(jax.random.key(0), instance)

        def act(key, state):
            seen = env.observe(state)
            logits, value = apply(params, seen)
            return masked_argmax(logits, seen.action_mask), (logits, value)

        num_steps = env.max_steps(instance)
        return jax.jit(lambda: unroll(env, jax.random.key(1), first, act, num_steps))()

    def observe(instance):
        return env.observe(env.init(jax.random.key(0), instance))

    (cpu, (actions, seen, timestep)), (other, (taken, met, told)) = map(episode, ("cpu", "default"))
    np.testing.assert_array_equal(taken, actions)
    jax.tree.map(np.testing.assert_array_equal, (other, told), (cpu, timestep))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-5), met, seen)
