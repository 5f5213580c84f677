"""Karpenter's benchmark mix for our engine: pods in, nodes out. Called by plan.py.

Our sessions cannot say "one of us per node" yet, so this goes one level below the planner's
front: sizes with zones and classes are grouped into shapes, a class is a resource of which each
node has one, and the engine packs them. Grouping and handing out are part of what is timed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...core.model import InstanceType
from ...core.packing.engine import FIRST_STEPS, Answer, pack
from ...core.packing.problem import Ints, Problem, problem
from ...core.quantity import MIB
from ...sim.workloads import BenchmarkMix

_Key = tuple[int, int, tuple[str, ...], str]
"""Millicores, MiB, zones, class."""


@dataclass(frozen=True, slots=True)
class MixPlan:
    """Pods by uid to the number of their node, and what all nodes cost."""

    node_of: dict[str, int]
    cost_micro: int
    lower_bound_micro: int


def plan_mix(mix: BenchmarkMix, types: Sequence[InstanceType], steps: int = FIRST_STEPS) -> MixPlan:
    """A node for every pod of the mix."""
    groups: defaultdict[_Key, list[str]] = defaultdict(list)
    for pod in mix.sessions:
        size, zones = pod.resources, pod.requirements.zones
        key = (size.cpu_millicpu, size.memory_bytes, zones, mix.one_per_node.get(pod.uid, ""))
        groups[key].append(pod.uid)
    keys = sorted(groups)
    asked = _problem(keys, [len(groups[key]) for key in keys], types)
    answer = pack(asked, steps=steps)
    return MixPlan(_handed_out(answer, [groups[k] for k in keys]), answer.cost, answer.lower_bound)


def _problem(keys: Sequence[_Key], demand: Sequence[int], types: Sequence[InstanceType]) -> Problem:
    """Bins are types in zones: who is bound to a zone serves there only, the others anywhere."""
    classes = sorted({key[3] for key in keys if key[3]})
    zones = sorted({zone for key in keys for zone in key[2]}) or [""]
    sizes = [_size(key, classes) for key in keys]
    rooms = [_room(kind, len(classes)) for _ in zones for kind in types]
    costs = [kind.offerings[0].usd_per_hour_micro for _ in zones for kind in types]
    in_zone = [[not key[2] or zone in key[2] for key in keys] for zone in zones]
    serves = np.repeat(np.array(in_zone, dtype=np.bool_), len(types), axis=0)
    return problem(_ints(sizes), _ints(demand), _ints(rooms), _ints(costs), serves=serves)


def _ints(values: Sequence[int] | Sequence[Sequence[int]]) -> Ints:
    return np.array(values, dtype=np.int64)


def _size(key: _Key, classes: Sequence[str]) -> list[int]:
    millicpu, memory, _, alone = key
    return [millicpu, -(-memory // MIB), 1, *(int(alone == each) for each in classes)]


def _room(kind: InstanceType, classes: int) -> list[int]:
    room = kind.allocatable
    return [room.cpu_millicpu, room.memory_bytes // MIB, room.pods, *[1] * classes]


def _handed_out(answer: Answer, groups: Sequence[list[str]]) -> dict[str, int]:
    """The next pods of each shape to each node; consumes the groups."""
    node_of: dict[str, int] = {}
    node = 0
    for load in answer.loads:
        taken = [(groups[shape], count) for shape, count in enumerate(load.counts) if count]
        for _ in range(load.repeat):
            for group, count in taken:
                for _ in range(count):
                    node_of[group.pop()] = node
            node += 1
    return node_of
