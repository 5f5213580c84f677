"""A plan as one page: nodes with their GPU seats, bars, what it costs, who has no place.

Called by ``gpu-jit plan --html``. The page needs nothing else: no script, no font, no network. Its
colours are those of the status page (service/static/status.css; a test compares them), light and
dark. Everything that comes from a file is escaped, and the page is ASCII.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .drawing import (
    Block,
    SeatOfGpus,
    blocks,
    cpu_words,
    extra_words,
    format_usd_exact,
    gpu_seats,
    gpu_words,
    letter,
    memory_words,
    size,
    title,
    verdict,
    who,
)
from .plan_answer import Answer, Refused, used
from .planfile import Request
from .texts import plural

LIGHT = {
    "--gj-accent": "#0b6e6e",
    "--gj-accent-soft": "rgba(11, 110, 110, 0.08)",
    "--gj-on-accent": "#fff",
    "--bs-body-bg": "#fff",
    "--bs-body-color": "#212529",
    "--bs-secondary-color": "#5a6268",
    "--bs-border-color": "#d0d5d9",
    "--st-page": "#f6f8f8",
    "--st-bad": "#b02a37",
    "--st-free": "#eef1f2",
}
DARK = {
    "--gj-accent": "#4cc9c0",
    "--gj-accent-soft": "rgba(76, 201, 192, 0.12)",
    "--gj-on-accent": "#06201f",
    "--bs-body-bg": "#212529",
    "--bs-body-color": "#dee2e6",
    "--bs-secondary-color": "#adb5bd",
    "--bs-border-color": "#495057",
    "--st-page": "#1a1d20",
    "--st-bad": "#ff9aa2",
    "--st-free": "#2b3035",
}
_STYLE = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--st-page); color: var(--bs-body-color);
  font: 400 1rem/1.5 system-ui, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.25rem 1.25rem 3rem; }
h1 { font-size: 1.6rem; font-weight: 600; margin: 0.2rem 0; }
h2 { font-size: 1.15rem; font-weight: 600; margin: 1.9rem 0 0.7rem; }
h3 { font-size: 1.05rem; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
p { margin: 0; overflow-wrap: anywhere; }
ul { list-style: none; margin: 0; padding: 0; }
.soft { color: var(--bs-secondary-color); font-size: 0.925rem; }
.totals { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 0.75rem;
  margin-top: 0.9rem; }
.tile, .node, .rows { background: var(--bs-body-bg); border: 1px solid var(--bs-border-color);
  border-radius: 0.6rem; }
.tile { padding: 0.7rem 1rem; }
.tile:first-child { border-color: var(--gj-accent); background:
  linear-gradient(var(--gj-accent-soft), var(--gj-accent-soft)), var(--bs-body-bg); }
.figure { font-size: 1.55rem; line-height: 1.25; font-weight: 600;
  font-variant-numeric: tabular-nums; }
.rows > li { padding: 0.6rem 1rem; overflow-wrap: anywhere; }
.rows > li + li { border-top: 1px solid var(--bs-border-color); }
.bad { color: var(--st-bad); }
.nodes { display: grid; gap: 0.75rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
.node { padding: 0.85rem 1rem; display: grid; gap: 0.6rem; min-width: 0; }
.seats { display: grid; gap: 0.25rem; }
.seat { min-width: 0; height: 2.4rem; line-height: 2.4rem; padding: 0 0.4rem; text-align: center;
  border-radius: 0.35rem; font-size: 0.85rem; font-weight: 600; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.taken { background: var(--gj-accent); color: var(--gj-on-accent); }
.other { background: var(--bs-border-color); color: var(--bs-body-color); }
.free { background: var(--st-free); box-shadow: inset 0 0 0 1px var(--bs-border-color); }
.bar { display: grid; grid-template-columns: 1fr 11rem; gap: 0.75rem; align-items: center; }
.bar svg { display: block; width: 100%; height: 0.6rem; border-radius: 0.3rem; }
.room { fill: var(--st-free); }
.full { fill: var(--gj-accent); }
.key { display: inline-block; min-width: 1.8rem; padding: 0 0.4rem; margin-right: 0.4rem;
  border-radius: 0.35rem; background: var(--gj-accent); color: var(--gj-on-accent);
  text-align: center; font-weight: 600; }
@media (max-width: 44rem) {
  main { padding: 0.9rem 0.9rem 2.5rem; }
  .bar { grid-template-columns: 1fr 9.5rem; gap: 0.5rem; }
  .seat { padding: 0 0.1rem; font-size: 0.75rem; }
}
"""


def page(told: Answer) -> str:
    """The whole answer as a page of HTML, in ASCII."""
    body = "\n".join(
        [
            f"<h1>Plan for {plural(sum(r.count for r in told.requests), 'session')}</h1>",
            _p(f"On {told.source}{', figures of the catalogue alone' if told.bare else ''}."),
            _totals(told),
            _rows("Asked for", [_asked(request) for request in told.requests]),
            _nodes("New nodes", told, blocks(told.nodes)),
            _nodes("Nodes that are there", told, blocks(told.existing)),
            _rows("Without a place", [_refused(row, told) for row in told.refused]),
            _rows("Notes", [escape(note) for note in told.plan.notes]),
        ]
    )
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Plan of gpu-jit</title>\n<style>{_colours()}{_STYLE}</style></head>\n"
    )
    whole = f"{head}<body><main>\n{body}\n</main></body></html>"
    return whole.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _colours() -> str:
    light, dark = (" ".join(f"{k}: {v};" for k, v in each.items()) for each in (LIGHT, DARK))
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
    )


def _p(text: str) -> str:
    return f'<p class="soft">{escape(text)}</p>'


def _totals(told: Answer) -> str:
    plan = told.plan
    tiles = (
        (
            f"{format_usd_exact(plan.cost_usd_per_hour_micro)}/h",
            plural(len(told.nodes), "new node") + extra_words(told),
        ),
        (f"{format_usd_exact(plan.lower_bound_usd_per_hour_micro)}/h", f"bound: {verdict(told)}"),
        (f"{told.seconds * 1000:.0f} ms", "to plan"),
    )
    cells = (
        f'<div class="tile"><p class="figure">{escape(figure)}</p>{_p(words)}</div>'
        for figure, words in tiles
    )
    return f'<div class="totals">{"".join(cells)}</div>'


def _rows(heading: str, rows: Sequence[str]) -> str:
    """A list with a heading; nothing when it is empty. The rows are HTML already."""
    if not rows:
        return ""
    items = "".join(f"<li>{row}</li>" for row in rows)
    return f'<h2>{escape(heading)}</h2><ul class="rows">{items}</ul>'


def _asked(request: Request) -> str:
    profile = request.profile
    name = f" ({profile.display_name})" if profile.display_name != profile.slug else ""
    words = f"{request.count} x {profile.slug}{name}"
    return f"{_key(request.index)}<b>{escape(words)}</b> {escape(size(request))}"


def _key(index: int) -> str:
    return f'<span class="key">{letter(index)}</span>'


def _refused(row: Refused, told: Answer) -> str:
    slug = told.requests[row.request].profile.slug
    words = f"{row.count} x {slug}"
    return f'{_key(row.request)}<b class="bad">{escape(words)}</b> {escape(row.refusal.message)}'


def _nodes(heading: str, told: Answer, found: Sequence[Block]) -> str:
    if not found:
        return ""
    nodes = "".join(_node(block, told) for block in found)
    return f'<h2>{escape(heading)}</h2><div class="nodes">{nodes}</div>'


def _node(block: Block, told: Answer) -> str:
    node = block.node
    taken, total = used(node, told.requests), node.total
    parts = [f"<h3>{escape(title(block))}</h3>"]
    if total.gpus:
        parts += [_seats(*gpu_seats(node, told.requests), total.gpus), _p(gpu_words(node, taken))]
    parts += [
        _bar(taken.cpu_millicpu, total.cpu_millicpu, cpu_words(node, taken)),
        _bar(taken.memory_bytes, total.memory_bytes, memory_words(node, taken)),
        f"<p>{escape(who(node, told.requests))}</p>",
        _p(node.why),
    ]
    return f'<section class="node">{"".join(parts)}</section>'


def _seats(seats: Sequence[SeatOfGpus], free: int, gpus: int) -> str:
    cells = [
        f'<div class="seat {"other" if seat.request is None else "taken"}" '
        f'style="grid-column: span {seat.gpus}">{escape(seat.label)}</div>'
        for seat in seats
    ]
    cells += ['<div class="seat free">free</div>'] * free
    columns = f"grid-template-columns: repeat({gpus}, minmax(0, 1fr))"
    return f'<div class="seats" style="{columns}">{"".join(cells)}</div>'


def _bar(taken: int, total: int, words: str) -> str:
    full = min(100.0, 100 * taken / total) if total else 0.0
    return (
        '<div class="bar"><svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="room" width="100" height="1"></rect>'
        f'<rect class="full" width="{full:.2f}" height="1"></rect></svg>{_p(words)}</div>'
    )
