"""Rows of figures as every benchmark prints them: value, aim, and what stands beside it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Row = dict[str, Any]
# Ratios have aims such as 1.001.
_DECIMALS = {"ms": 1, "x": 3, "pods/s": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What a row is about; ``aim`` is None where the issue that asked for it gives none."""

    name: str
    unit: str
    beside: str
    aim: float | None = None
    better: Literal["lower", "higher"] = "lower"

    def row(self, value: float) -> Row:
        """The row with what was measured; ``holds`` follows from the aim alone."""
        words = {key: word for key, word in asdict(self).items() if key != "beside"}
        return {
            **words,
            "value": round(value, 3),
            "beside": self.beside,
            "holds": self._holds(value),
        }

    def _holds(self, value: float) -> bool:
        if self.aim is None:
            return True
        return value <= self.aim if self.better == "lower" else value >= self.aim


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """By nearest rank: the smallest value that ``percent`` of all do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


def table(rows: Sequence[Row]) -> str:
    """The rows for people."""
    lines = [("name", "value", "aim", "holds", "beside")]
    for row in rows:
        aim = "-" if row["aim"] is None else f"{row['aim']:g} {row['unit']}"
        value = f"{row['value']:.{_DECIMALS.get(row['unit'], 2)}f} {row['unit']}"
        lines.append((row["name"], value, aim, "yes" if row["holds"] else "no", row["beside"]))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[4]]
        )
        for line in lines
    )
