"""Patterns from one plan to the next: told in names that survive changed demand and prices.

``Plan.patterns`` is (keys of shapes, names of types and layouts, columns); a column is
the number of its type and layout followed by pairs of a shape's number and how many. Plain,
hashable, and opaque to everybody but this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .engine import Pattern
from .fillings import Market

_PARTS = 3


def remembered(market: Market, patterns: Sequence[Pattern]) -> tuple[Any, ...]:
    """What to keep of these patterns."""
    if not patterns:
        return ()
    keys = tuple(shape.key for shape in market.shapes)
    names = tuple(dict.fromkeys(market.bins[bin_].entry.key for bin_, _ in patterns))
    number = {name: n for n, name in enumerate(names)}
    columns = tuple(
        (number[market.bins[bin_].entry.key], *_pairs(counts)) for bin_, counts in patterns
    )
    return (keys, names, columns)


def _pairs(counts: Sequence[int]) -> Iterator[int]:
    for shape, count in enumerate(counts):
        if count:
            yield shape
            yield count


def recalled(market: Market, kept: tuple[Any, ...]) -> Iterator[Pattern]:
    """The patterns in this market's numbers; without shapes and types that are not there now."""
    if len(kept) != _PARTS:
        return
    keys, names, columns = kept
    shape_of = {shape.key: i for i, shape in enumerate(market.shapes)}
    shapes = [shape_of.get(key) for key in keys]
    bins: dict[tuple[str, str], list[int]] = {}
    for i, each in enumerate(market.bins):
        bins.setdefault(each.entry.key, []).append(i)
    for type_number, *pairs in columns:
        counts = _counts(shapes, pairs, len(market.shapes))
        for bin_ in bins.get(names[type_number], ()):
            if any(counts):
                yield bin_, counts


def _counts(shapes: Sequence[int | None], pairs: Sequence[int], width: int) -> tuple[int, ...]:
    counts = [0] * width
    for shape, count in zip(pairs[::2], pairs[1::2], strict=True):
        now = shapes[shape]
        if now is not None:
            counts[now] = count
    return tuple(counts)
