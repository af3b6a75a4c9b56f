"""Device stages as a graph: what a batch becomes goes several ways, and comes together again.

    batch --> scale --> flip --+
                 |             +--> join --> what the user gets
                 +--> blur ----+

The graph is one stage, a function or a module, so it is jitted as one, and random and stateful nodes are what they are
elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

import jax
from flax import nnx

from datarax_mp.stages.base import mixes_rows
from datarax_mp.stages.device import Data, DeviceStage, RandomDeviceStage


class _Node(NamedTuple):
    """A node in its turn.

    Attributes:
        name: its name.
        fn: what it calls; None is the module of that name.
        random: the number of its key, or None.
        before: whose results it takes, in this order; none is the batch.
    """

    name: str
    fn: Callable[..., Data] | None
    random: int | None
    before: tuple[str, ...]


def graph_stage(nodes: Any, edges: Any, sink: Any) -> Any:
    """The stage that a graph is.

    Args:
        nodes: by name a ``DeviceStage``, a ``RandomDeviceStage``, an ``nnx.Module`` or a function of a batch's arrays.
        edges: for a node the names of those before it, whose results it is called with, one argument for each; none is
            the batch itself.
        sink: the node whose result the user gets.

    Raises:
        TypeError: ``nodes`` or ``edges`` are no dicts, or a node cannot be called.
        ValueError: there is a cycle, a name that no node has, or a random function that cannot be a node.
    """
    for name, value in {"nodes": nodes, "edges": edges}.items():
        if not isinstance(value, Mapping):
            raise TypeError(f"{name} must be a dict by node, got {type(value).__name__}")
    if sink not in nodes:
        raise ValueError(f"sink={sink!r} is none of the nodes {sorted(nodes)}")
    ordered, modules = _ordered(nodes, edges), {}
    found: list[_Node] = []
    draws = 0
    for name in ordered:
        node, fn = nodes[name], _function(name, nodes[name])
        if isinstance(node, nnx.Module):
            modules[name], fn = node, None
        random = isinstance(node, RandomDeviceStage)
        found.append(_Node(name, fn, draws if random else None, tuple(edges.get(name, ()))))
        draws += random
    if modules and draws:
        raise ValueError(
            f"RandomDeviceStage and nnx.Module ({sorted(modules)}) are in one graph: make the former a module with "
            "an nnx.Rngs, too"
        )
    if modules:
        return GraphModule(tuple(found), sink, modules)
    graph = Graph(tuple(found), sink)
    return RandomDeviceStage(graph) if draws else DeviceStage(graph)


def _function(name: str, node: Any) -> Any:
    """What a node calls."""
    fn = getattr(node, "fn", None) if isinstance(node, (DeviceStage, RandomDeviceStage)) else node
    if not callable(fn):
        raise TypeError(f"nodes[{name!r}] of type {type(node).__name__} cannot be called with a batch")
    if isinstance(node, RandomDeviceStage) and node.per_record:
        raise ValueError(f"nodes[{name!r}] draws for each record, which no node of a graph can; put it in stages=")
    return fn


def _ordered(nodes: Mapping[str, Any], edges: Mapping[str, Sequence[str]]) -> list[str]:
    """The nodes' names, each behind those that it takes from."""
    for name, before in edges.items():
        if isinstance(before, str) or not isinstance(before, Sequence):
            raise TypeError(f"edges[{name!r}] must be a list of nodes, got {before!r}")
        for unknown in {name, *before} - nodes.keys():
            raise ValueError(f"edges[{name!r}] = {list(before)}: there is no node {unknown!r} among {sorted(nodes)}")
    try:
        return list(TopologicalSorter({name: edges.get(name, ()) for name in nodes}).static_order())
    except CycleError as error:
        raise ValueError(f"edges go round in a circle: {' -> '.join(reversed(error.args[1]))}") from None


def _evaluate(nodes: Sequence[_Node], sink: str, data: Data, key: Any, owner: Any) -> Data:
    """What the sink makes of a batch."""
    results: dict[str, Data] = {}
    for name, fn, random, before in nodes:
        taken = [results[earlier] for earlier in before] or [data]
        keys = [] if random is None else [jax.random.fold_in(key, random)]
        results[name] = (owner[name] if fn is None else fn)(*taken, *keys)
    return results[sink]


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph of functions as one function of a batch, and of a key if one of them is random.

    Attributes:
        nodes: in their turn.
        sink: whose result it is.
    """

    nodes: tuple[_Node, ...]
    sink: str

    @property
    def mixes_rows(self) -> bool:
        """Whether a node does; see the function of that name."""
        return any(map(mixes_rows, self.nodes))

    def __call__(self, data: Data, key: Any = None) -> Data:
        """Evaluate it."""
        return _evaluate(self.nodes, self.sink, data, key, None)


class GraphModule(nnx.Module):
    """A graph with modules in it as one module.

    Args:
        nodes: in their turn.
        sink: whose result it is.
        modules: by name.
    """

    def __init__(self, nodes: tuple[_Node, ...], sink: str, modules: Mapping[str, nnx.Module]) -> None:
        self._turns, self._sink = nodes, sink
        self._held = nnx.Dict(modules)

    @property
    def mixes_rows(self) -> bool:
        """Whether a node does; see the function of that name."""
        nodes = (node if node.fn is not None else node._replace(fn=self._held[node.name]) for node in self._turns)
        return any(map(mixes_rows, nodes))

    def __call__(self, data: Data) -> Data:
        """Evaluate it."""
        return _evaluate(self._turns, self._sink, data, None, self._held)
