"""``gpu-jit plan``: what the planner would do for a file of requests, drawn, with no cluster.

Called by ``main``. Files are read here, understood in core.planfile, planned by core.packing and
drawn by core.drawing; the time is taken here because core has no clock.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import UserError
from .shared import needs_extra, say

if TYPE_CHECKING:
    from ..core.packing import Policy
    from ..core.plan_answer import Answer
    from ..core.planfile import LiveNode, Request
    from ..core.planfile_market import Types

T = TypeVar("T")
_YAML = (".yaml", ".yml")
_MOST_MIB = 64


def plan(asked: argparse.Namespace) -> int:
    """Plan what a file asks for, or say what of it just misses a size. Raises UserError."""
    needs_extra("highspy", "provisioner")
    data = _load(asked.file)
    text = _lint(asked, data) if asked.lint else _shown(asked, _answer(asked, _inputs(asked, data)))
    say(text)
    return 0


@dataclass(frozen=True)
class _Inputs:
    """Everything a plan depends on, read."""

    requests: tuple[Request, ...]
    types: Types
    live: tuple[LiveNode, ...]
    source: str
    packaged: bool


def _inputs(asked: argparse.Namespace, data: object) -> _Inputs:
    from ..core.planfile import read_nodes, read_requests, split

    parts = _in(asked.file, lambda: split(data))
    requests = _in(asked.file, lambda: read_requests(parts.get("requests")))
    types, source, packaged = _market(asked, parts)
    file, nodes = _part(asked.nodes, asked.file, parts, "nodes")
    live = _in(
        file,
        lambda: read_nodes([] if nodes is None else nodes, {kind.name: kind for kind in types}),
    )
    return _Inputs(requests, types, live, source, packaged)


def _part(
    option: Path | None, file: Path, parts: dict[str, object], name: str
) -> tuple[Path, object]:
    """An option's file before the same part of the requests' own; None when there is neither."""
    return (option, _load(option)) if option else (file, parts.get(name))


def _market(asked: argparse.Namespace, parts: dict[str, object]) -> tuple[Types, str, bool]:
    """What is sold, where that is said, and whether it is the packaged catalogue."""
    from ..catalogue import instance_types
    from ..core.planfile_market import on_demand_only, overlay_spot, read_catalogue

    packaged = instance_types()
    file, data = _part(asked.catalogue, asked.file, parts, "catalogue")
    types, source = on_demand_only(packaged), "the packaged catalogue, on-demand"
    if data is not None:
        known = {kind.name: kind for kind in packaged}
        types = _in(file, lambda: read_catalogue(data, known))
        source = file.name
    spot_file, spot = _part(asked.spot, asked.file, parts, "spot")
    if spot is not None:
        types = _in(spot_file, lambda: overlay_spot(types, spot))
        source += f" with Spot of {spot_file.name}"
    return types, source, data is None


def policy(*, bare: bool, packaged: bool) -> Policy:
    """What may be bought: of a catalogue that was given, everything in it.

    ``bare`` leaves out whatever is added to the catalogue's figures: root disk, daemonsets,
    interruption cost, diversification.
    """
    from ..core.packing.policy import BARE, USUAL

    chosen = BARE if bare else USUAL
    return chosen if packaged else replace(chosen, excluded_families=frozenset())


def _answer(asked: argparse.Namespace, inputs: _Inputs) -> Answer:
    from ..core.model import Snapshot
    from ..core.packing import SETTLE_STEPS, solve
    from ..core.plan_answer import answer

    snapshot = Snapshot(
        now=0.0,
        waiting=tuple(s for request in inputs.requests for s in request.sessions()),
        seats=tuple(node.seat for node in inputs.live),
        instance_types=inputs.types,
    )
    limits = policy(bare=asked.bare, packaged=inputs.packaged)
    began = time.perf_counter()
    found = solve(snapshot, limits, steps=SETTLE_STEPS)
    seconds = time.perf_counter() - began
    return answer(
        inputs.requests,
        inputs.types,
        inputs.live,
        found,
        costs=limits.node_costs,
        seconds=seconds,
        bare=asked.bare,
        source=inputs.source,
    )


def _shown(asked: argparse.Namespace, told: Answer) -> str:
    if asked.json:
        from ..core.plan_answer import answer_json

        shown: str = json.dumps(answer_json(told), indent=1)
        return shown
    if asked.html:
        from ..core.drawing_html import page

        return page(told)
    from ..core.drawing import draw

    return draw(told)


def _lint(asked: argparse.Namespace, data: object) -> str:
    from ..core.lint import lint, report, report_json
    from ..core.planfile import split
    from ..core.profiles import parse_profiles

    own = dict(data) if isinstance(data, dict) and "profiles" in data else None
    parts: dict[str, object] = {} if own else _in(asked.file, lambda: split(data))
    types, source, packaged = _market(asked, parts)
    limits = policy(bare=asked.bare, packaged=packaged)
    if own:
        profiles = _in(asked.file, lambda: parse_profiles(own))
    else:
        profiles = tuple(request.profile for request in _inputs(asked, data).requests)
    found = lint(profiles, types, limits)
    if asked.json:
        return json.dumps(report_json(found), indent=1)
    return report(found, len(profiles), source)


# --- files -----------------------------------------------------------------------------------


def _load(file: Path) -> object:
    """What a JSON or YAML file says. Raises UserError."""
    text = _text(file)
    if file.suffix in _YAML:
        return _yaml(file, text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, json.JSONDecodeError) else "its values are too large"
        raise UserError(f"{file} cannot be read as JSON: {why}.", reason="BadPlanFile") from error


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _MOST_MIB << 20:
            raise UserError(f"{file} is larger than {_MOST_MIB} MiB.", reason="BadPlanFile")
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise UserError(f"{file} cannot be read: {why}.", reason="BadPlanFile") from error


def _yaml(file: Path, text: str) -> object:
    needs_extra("yaml", "hub")
    import yaml

    try:
        found: object = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{file} cannot be read as YAML: {why}", reason="BadPlanFile") from error
    return found


def _in(file: Path, read: Callable[[], T]) -> T:
    """What ``read`` gives; its errors begin with the file's name."""
    try:
        return read()
    except UserError as error:
        raise UserError(f"{file.name}: {error.user_message}", reason=error.reason) from error
