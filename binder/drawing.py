"""Draws a plan as SVG: one row per node, one bar per resource, one colour per session.

For planner.ipynb only; needs nothing but IPython, so that the notebook runs without a network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from IPython.display import HTML, SVG

from jupyter_gpu_jit.core.model import InstanceType, Plan, Resources, SessionRequest, Snapshot
from jupyter_gpu_jit.core.packing import Quote
from jupyter_gpu_jit.core.quantity import format_usd

# Okabe and Ito's colours, which people with any colour vision can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
BARS = (("GPU", "gpus"), ("CPU", "cpu_millicpu"), ("memory", "memory_bytes"))
LABEL, WIDTH, BAR, ROW = 270, 460, 16, 74


@dataclass(frozen=True)
class Row:
    """A node to draw: what it is called, how much it holds, and who sits on it."""

    title: str
    subtitle: str
    total: Resources
    sessions: tuple[SessionRequest, ...]


def draw(plan: Plan, snapshot: Snapshot) -> SVG:
    """New nodes first, then seats that were there, each with whom the plan puts on it."""
    rows = [*_new(plan, snapshot), *_old(plan, snapshot)]
    users = {session.uid: n for n, session in enumerate(snapshot.waiting)}
    height = ROW * len(rows) + 30
    body = "".join(_row(row, n * ROW, users) for n, row in enumerate(rows))
    total = f"new nodes: {format_usd(plan.usd_per_hour_micro)}/h; no plan can cost less than "
    total += f"{format_usd(plan.lower_bound_usd_per_hour_micro)}/h"
    foot = _text(0, height - 8, total, "font-weight='bold'")
    size = f"width='{LABEL + WIDTH + 70}' height='{height}'"
    style = "font-family='sans-serif' font-size='12'"
    return SVG(data=f"<svg xmlns='http://www.w3.org/2000/svg' {size} {style}>{body}{foot}</svg>")


def _new(plan: Plan, snapshot: Snapshot) -> Iterable[Row]:
    kinds = {kind.name: kind for kind in snapshot.instance_types}
    for claim in plan.claims:
        best = claim.offerings[0]
        price = f"{format_usd(best.usd_per_hour_micro)}/h {best.capacity_type.value}"
        pools = f"{price}, {len(claim.offerings)} pools would serve"
        yield Row(
            best.instance_type,
            pools,
            _total(kinds, best.instance_type),
            _on(plan, snapshot, claim.key),
        )


def _total(kinds: Mapping[str, InstanceType], name: str) -> Resources:
    return kinds[name].allocatable


def _old(plan: Plan, snapshot: Snapshot) -> Iterable[Row]:
    for seat in snapshot.seats:
        state = "ready" if seat.ready else "in flight"
        yield Row(
            f"{seat.place} ({seat.instance_type})",
            state,
            seat.total,
            _on(plan, snapshot, seat.place),
        )


def _on(plan: Plan, snapshot: Snapshot, place: str) -> tuple[SessionRequest, ...]:
    uids = {placement.session for placement in plan.placements if placement.place == place}
    return tuple(session for session in snapshot.waiting if session.uid in uids)


def _row(row: Row, top: int, users: Mapping[str, int]) -> str:
    words = _text(0, top + 18, row.title, "font-weight='bold'") + _text(0, top + 36, row.subtitle)
    bars = [bar for bar in BARS if getattr(row.total, bar[1])]
    return words + "".join(
        _bar(row, users, name=name, label=label, top=top + 4 + n * (BAR + 4))
        for n, (label, name) in enumerate(bars)
    )


def _bar(row: Row, users: Mapping[str, int], *, name: str, label: str, top: int) -> str:
    total, left = getattr(row.total, name), float(LABEL)
    parts = [_box(left, top, WIDTH, "#eee", "free")]
    for session in row.sessions:
        width = WIDTH * getattr(session.resources, name) / total
        colour = COLOURS[users[session.uid] % len(COLOURS)]
        parts.append(_box(left, top, width, colour, session.user))
        left += width
    return "".join(parts) + _text(LABEL + WIDTH + 6, top + BAR - 3, label)


def _box(left: float, top: int, width: float, colour: str, title: str) -> str:
    place = f"x='{left:.1f}' y='{top}' width='{width:.1f}' height='{BAR}'"
    return f"<rect {place} fill='{colour}' stroke='white'><title>{escape(title)}</title></rect>"


def _text(left: int, top: int, text: str, style: str = "") -> str:
    return f"<text x='{left}' y='{top}' {style}>{escape(text)}</text>"


def table(quotes: Sequence[Quote]) -> HTML:
    """Quotes as a table."""
    head = "".join(
        f"<th>{name}</th>" for name in ("profile", "price", "on", "where", "wait", "why not")
    )
    return HTML(f"<table><tr>{head}</tr>{''.join(_quote(quote) for quote in quotes)}</table>")


def _quote(quote: Quote) -> str:
    cells = [quote.slug, "", "", "", "", f"{quote.reason}; {quote.alternative}"]
    if quote.possible:
        wait = f"{quote.wait_p50_seconds} to {quote.wait_p90_seconds} s"
        price = f"{format_usd(quote.usd_per_hour_micro)}/h"
        cells = [quote.slug, price, quote.instance_type, quote.seat, wait, ""]
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
