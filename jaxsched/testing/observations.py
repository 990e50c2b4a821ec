"""What makes an observation well-formed, whatever the family: names, shapes and numbers that fit
together.

Everything here takes observations in a batch on the host, `[n, T, ...]`, and raises AssertionError
with the first fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxsched.core.graph import Actions, Edges, GraphObservation, Nodes, feature_names
from jaxsched.testing.expect import everywhere, expect


def well_formed(seen: GraphObservation) -> None:
    """Names are unique, as many as features; shapes and dtypes agree, numbers are in range, floats
    are finite, what is masked is zero and legal actions are about real nodes.
    """
    batch = tuple(seen.action_mask.shape[:-1])
    _unique("kinds of nodes", [nodes.kind for nodes in seen.nodes])
    for nodes in seen.nodes:
        _nodes(nodes, batch)
    num_nodes = sum(nodes.mask.shape[-1] for nodes in seen.nodes)
    _relations(seen.relation, seen.relation_names, batch, num_nodes)
    num_actions = sum(_actions(group, seen, batch) for group in seen.actions)
    _array("action_mask", seen.action_mask, np.bool_, (*batch, num_actions))
    num_named = len(seen.nodes) + sum(bool(group.names) for group in seen.actions)
    expect(len(feature_names(seen)) == num_named, "two groups of actions have the same form")
    _targets(seen)


def _nodes(nodes: Nodes, batch: tuple[int, ...]) -> None:
    kind, size = nodes.kind, nodes.mask.shape[-1]
    _array(f"the mask of the nodes {kind}", nodes.mask, np.bool_, (*batch, size))
    _features(f"the nodes {kind}", nodes.features, nodes.names, (*batch, size))
    zero = (nodes.features == 0).all(-1)
    everywhere(zero | nodes.mask, f"a masked node {kind} has features other than zero")


def _features(what: str, features: Any, names: Sequence[str], shape: tuple[int, ...]) -> None:
    """Float features of the shape, then F, with F names."""
    _unique(f"names of the features of {what}", names)
    expect(
        features.shape[-1] == len(names),
        f"{what} have {features.shape[-1]} features and {len(names)} names",
    )
    _array(f"the features of {what}", features, np.float32, (*shape, len(names)))
    everywhere(np.isfinite(features), f"a feature of {what} is not finite")


def _relations(relation: Any, names: Sequence[str], batch: tuple[int, ...], num_nodes: int) -> None:
    _unique("names of the relations", names)
    if not isinstance(relation, Edges):
        _array("relation", relation, np.int8, (*batch, num_nodes, num_nodes))
        _range("relation", relation, len(names) + 1)
        return
    num_edges = relation.mask.shape[-1]
    _array("the mask of the edges", relation.mask, np.bool_, (*batch, num_edges))
    ends = ("senders", relation.senders, num_nodes), ("receivers", relation.receivers, num_nodes)
    for name, index, size in (
        *ends,
        ("the relation of the edges", relation.relation, len(names) + 1),
    ):
        _array(name, index, np.int32, (*batch, num_edges))
        _range(name, index, size)
    everywhere((relation.relation > 0) | ~relation.mask, "a real edge has no relation")


def _actions(group: Actions, seen: GraphObservation, batch: tuple[int, ...]) -> int:
    """Looks at one group of actions and returns how many there are."""
    what = f"the actions {' / '.join(dict.fromkeys(group.kinds))} {group.about}"
    sizes = {nodes.kind: nodes.mask.shape[-1] for nodes in seen.nodes}
    for kind in (group.about, group.uses):
        expect(kind is None or kind in sizes, f"{what} name {kind}, which is no kind of node")
    expect(group.uses or group.resource is None, f"{what} have resources of no kind")
    expect(
        group.uses is None or group.node is None or group.resource is not None,
        f"{what} have nodes, but no resources",
    )
    given = {"node": group.node, "resource": group.resource}
    number = sizes[group.about] * (sizes[group.uses] if group.uses else 1)
    for index in given.values():
        number = number if index is None else index.shape[-1]
    if group.node is None and group.resource is not None:
        number = sizes[group.about]  # each node with a resource
    for (name, index), kind in zip(given.items(), (group.about, group.uses), strict=True):
        if index is not None and kind is not None:
            _array(f"{name} of {what}", index, np.int32, (*batch, number))
            _range(f"{name} of {what}", index, sizes[kind])
    expect(
        len(group.kinds) in (1, number),
        f"{what} are {number} actions of {len(group.kinds)} kinds",
    )
    if group.features is None:
        expect(not group.names, f"{what} have names of features, but no features")
    else:
        _features(what, group.features, group.names, (*batch, number))
    return number


def _targets(seen: GraphObservation) -> None:
    """Legal actions are about real nodes, and use real ones."""
    real = np.asarray(seen.node_mask)
    for index in (seen.action_node, seen.action_resource):
        there = np.take_along_axis(real, np.asarray(index), -1)
        everywhere(there | ~seen.action_mask, "a legal action points to a masked node")


def _array(name: str, array: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    found = f"{array.dtype}{list(array.shape)}"
    wanted = f"{np.dtype(dtype)}{list(shape)}"
    expect(found == wanted, f"{name} is {found}, not {wanted}")


def _range(name: str, index: Any, size: int) -> None:
    everywhere((index >= 0) & (index < size), f"{name} is outside [0, {size})")


def _unique(what: str, names: Sequence[str]) -> None:
    twice = [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
    expect(not twice, f"{what} come twice: {', '.join(twice)}")
