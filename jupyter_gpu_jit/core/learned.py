"""What nodes that run teach about their instance type: allocatable sizes as they really are.

A catalogue's allocatable is a guess (a kernel and a hypervisor keep back what no table says).
The first node of a type that is up tells the truth, and plans from then on use it. Called where a
snapshot is made, by the provisioner and by the service.

A node is believed only within reason: never more than the machine has, and not less than half of
what was expected, which is a node with a fault rather than a property of its type. GPUs, volumes
and local disk stay as the catalogue has them: a node may be cut into shares, so its count says
nothing about the type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from . import wire
from .model import InstanceType, Node, Resources
from .quantity import MIB
from .same import Same

Sizes = tuple[tuple[str, Resources], ...]
"""Allocatable by the name of the type, sorted by name."""


def sizes_seen(nodes: Iterable[Node], types: Sequence[InstanceType], before: Sizes = ()) -> Sizes:
    """What our nodes say of their types, beside what is remembered of types that none has now.

    Where nodes of a type differ the least of each counts, so that a plan fits on any of them.
    """
    kinds = {kind.name: kind for kind in types}
    seen: dict[str, Resources] = {}
    for node in nodes:
        kind = kinds.get(node.labels.get(wire.INSTANCE_TYPE_LABEL, ""))
        if kind is not None and _has_settled(node) and _is_plausible(node.allocatable, kind):
            seen[kind.name] = node.allocatable.at_most(seen.get(kind.name, node.allocatable))
    return tuple(sorted({**dict(before), **seen}.items()))


def _has_settled(node: Node) -> bool:
    """Whether it is ours and past its start, when sizes still change."""
    return bool(node.claim) and node.ready and wire.UNREGISTERED_TAINT not in node.taints


def _is_plausible(said: Resources, kind: InstanceType) -> bool:
    expected = kind.allocatable
    return (
        expected.cpu_millicpu <= 2 * said.cpu_millicpu
        and expected.memory_bytes <= 2 * said.memory_bytes
        and said.cpu_millicpu <= kind.vcpu * 1000
        and said.memory_bytes <= kind.memory_mib * MIB
        and said.pods > 0
    )


def learned(types: Sequence[InstanceType], sizes: Sizes) -> Sequence[InstanceType]:
    """The catalogue with those sizes; the very same object for the same catalogue and sizes.

    Markets are kept by the identity of their catalogue.
    """
    return _learned(Same(types), sizes)


@lru_cache(maxsize=4)
def _learned(types: Same[Sequence[InstanceType]], sizes: Sizes) -> Sequence[InstanceType]:
    known = dict(sizes)
    sized = tuple(_sized(kind, known) for kind in types.value)
    same = all(
        kind.allocatable == old.allocatable for kind, old in zip(sized, types.value, strict=True)
    )
    return types.value if same else sized


def _sized(kind: InstanceType, known: Mapping[str, Resources]) -> InstanceType:
    said = known.get(kind.name)
    if said is None:
        return kind
    real = replace(
        kind.allocatable,
        cpu_millicpu=said.cpu_millicpu,
        memory_bytes=said.memory_bytes,
        pods=said.pods,
    )
    return replace(kind, allocatable=real)
