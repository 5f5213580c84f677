"""A plan in plain text: nodes with their GPU seats and bars, what it costs, who has no place.

Called by ``gpu-jit plan``; drawing_html.py draws the same as a page. ASCII only and at most about
90 columns, so that it survives any terminal, log or mail.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .model import Resources
from .plan_answer import Answer, DrawnNode, used
from .planfile import Request
from .quantity import GIB, format_usd
from .texts import plural

_BAR = 24
_SHOWN_NAMES = 3


@dataclass(frozen=True, slots=True)
class Block:
    """Nodes that look alike, drawn once: ``node`` is the first of ``names``."""

    node: DrawnNode
    names: tuple[str, ...]


def blocks(nodes: Sequence[DrawnNode]) -> list[Block]:
    """The nodes, alike ones together, in the order of the first of each."""
    alike: dict[object, list[str]] = {}
    for node in nodes:
        # Not the profiles themselves: their choices cannot be hashed.
        held = tuple((profile.slug, profile.resources, count) for profile, count in node.held)
        key = (replace(node, name="", also=(), held=()), held)
        alike.setdefault(key, []).append(node.name)
    by_name = {node.name: node for node in nodes}
    return [Block(by_name[names[0]], tuple(names)) for names in alike.values()]


def letter(index: int) -> str:
    """A, B, ... Z, AA, AB: what a request's sessions are called in their seats."""
    head, tail = divmod(index, 26)
    return (letter(head - 1) if head else "") + chr(ord("A") + tail)


@dataclass(frozen=True, slots=True)
class SeatOfGpus:
    """One session's GPUs: ``request`` None for one that was there already."""

    label: str
    gpus: int
    request: int | None


def gpu_seats(node: DrawnNode, requests: Sequence[Request]) -> tuple[list[SeatOfGpus], int]:
    """Who has GPUs of a node, those who were there first; and how many GPUs are free."""
    seats = [
        SeatOfGpus(profile.slug, profile.gpus, None)
        for profile, count in node.held
        for _ in range(count)
        if profile.gpus
    ]
    seats += [
        SeatOfGpus(letter(index), requests[index].profile.gpus, index)
        for index, count in node.sessions
        for _ in range(count)
        if requests[index].profile.gpus
    ]
    return seats, node.total.gpus - sum(seat.gpus for seat in seats)


def draw(told: Answer) -> str:
    """The whole answer, ready to print."""
    lines = [_headline(told), ""]
    lines += [_legend(request) for request in told.requests]
    for title, nodes in (("new nodes", told.nodes), ("nodes that are there", told.existing)):
        if nodes:
            lines += ["", f"{title}:"]
            lines += [line for block in blocks(nodes) for line in _block(block, told)]
    lines += _refusals(told)
    lines += [f"note: {note}" for note in told.plan.notes]
    return "\n".join([*lines, "", *summary(told)])


def _headline(told: Answer) -> str:
    sessions = sum(request.count for request in told.requests)
    bare = ", figures of the catalogue alone" if told.bare else ""
    return f"{plural(sessions, 'session')} on {told.source}{bare}"


def _legend(request: Request) -> str:
    return f"  {letter(request.index)}  {request.count} x {request.profile.slug}: {size(request)}"


def size(request: Request) -> str:
    """What each session of a request needs, in words."""
    profile = request.profile
    which = f" ({' or '.join(profile.gpu_models)})" if profile.gpu_models else ""
    parts = [plural(profile.gpus, "GPU") + which] if profile.gpus else []
    amount = profile.resources
    return ", ".join([*parts, f"{cpu(amount)} CPU", f"{gib(amount)} GiB"])


def _block(block: Block, told: Answer) -> Iterator[str]:
    node = block.node
    taken, total = used(node, told.requests), node.total
    yield f"  {title(block)}"
    if total.gpus:
        yield f"    GPU  {_seats(node, told.requests)}  {gpu_words(node, taken)}"
    yield f"    CPU  {_bar(taken.cpu_millicpu, total.cpu_millicpu)}  {cpu_words(node, taken)}"
    yield f"    mem  {_bar(taken.memory_bytes, total.memory_bytes)}  {memory_words(node, taken)}"
    yield f"    who  {who(node, told.requests)}"


def title(block: Block) -> str:
    """Which nodes, of what, and for how much."""
    node, count = block.node, len(block.names)
    sold, names = node.offering, f"{count} x " if count > 1 else ""
    price = f"{format_usd(sold.usd_per_hour_micro)}/h{' each' if count > 1 else ''}"
    where = f"{sold.zone} {sold.capacity_type.value}"
    return f"{names}{sold.instance_type}{_named(block)}  {where}  {price}"


def _named(block: Block) -> str:
    """The names of nodes that are there, a few of many."""
    if block.node.state == "new":
        return ""
    shown = ", ".join(block.names[:_SHOWN_NAMES])
    more = f" and {len(block.names) - _SHOWN_NAMES} more" if len(block.names) > _SHOWN_NAMES else ""
    return f" {shown}{more} ({block.node.state})"


def _seats(node: DrawnNode, requests: Sequence[Request]) -> str:
    seats, free = gpu_seats(node, requests)
    taken = (["#" if seat.request is None else seat.label] * seat.gpus for seat in seats)
    return "".join(f"[{' '.join(marks)}]" for marks in taken) + "[ ]" * free


def _bar(taken: int, total: int) -> str:
    full = min(_BAR, math.ceil(_BAR * taken / total)) if total else 0
    return f"[{'#' * full}{'.' * (_BAR - full)}]"


def gpu_words(node: DrawnNode, taken: Resources) -> str:
    """GPUs taken, of how many of which model."""
    model = f" {node.gpu_model}" if node.gpu_model else ""
    parts = f" in parts ({node.layout})" if node.layout else ""
    return f"{taken.gpus} of {node.total.gpus}{model}{parts}"


def cpu_words(node: DrawnNode, taken: Resources) -> str:
    """CPU taken, of how much."""
    return f"{cpu(taken)} of {cpu(node.total)} CPU"


def memory_words(node: DrawnNode, taken: Resources) -> str:
    """Memory taken, of how much."""
    return f"{gib(taken)} of {gib(node.total)} GiB"


def who(node: DrawnNode, requests: Sequence[Request]) -> str:
    """The sessions of a node in words."""
    parts = [f"{count} x {profile.slug} (there already)" for profile, count in node.held]
    parts += [f"{n} x {letter(i)} {requests[i].profile.slug}" for i, n in node.sessions]
    return ", ".join(parts) or "nobody"


def _refusals(told: Answer) -> Iterator[str]:
    if told.refused:
        yield ""
        yield "without a place:"
    for row in told.refused:
        slug = told.requests[row.request].profile.slug
        yield f"  {row.count} x {letter(row.request)} {slug}: {row.refusal.message}"


def summary(told: Answer) -> list[str]:
    """Cost, bound, gap and time, a sentence each."""
    plan = told.plan
    cost = format_usd_exact(plan.cost_usd_per_hour_micro)
    bound = format_usd_exact(plan.lower_bound_usd_per_hour_micro)
    return [
        f"cost   {cost}/h for {plural(len(told.nodes), 'new node')}{extra_words(told)}",
        f"bound  {bound}/h: {verdict(told)}",
        f"time   {told.seconds * 1000:.0f} ms",
    ]


def extra_words(told: Answer) -> str:
    """What of the cost is not the price of nodes."""
    extra = told.plan.extra_usd_per_hour_micro
    words = f", {format_usd_exact(extra)} of it root disks and expected interruptions"
    return words if extra else ""


def verdict(told: Answer) -> str:
    """How good the plan is known to be."""
    if told.plan.proven:
        return "no plan is cheaper (proven)"
    if math.isfinite(told.plan.gap):
        return f"no plan can be cheaper than that; this one costs {told.plan.gap:.2%} more"
    return "nothing is known about cheaper plans"


def format_usd_exact(micro: int) -> str:
    """Money with a tenth of a cent, for sums that people add up themselves."""
    return f"${micro / 1_000_000:.3f}"


def cpu(amount: Resources) -> str:
    """CPUs without needless digits."""
    return f"{amount.cpu_millicpu / 1000:.5g}"


def gib(amount: Resources) -> str:
    """Memory in GiB without needless digits."""
    return f"{amount.memory_bytes / GIB:.4g}"
