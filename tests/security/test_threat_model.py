"""docs/threat-model.md speaks of all attacks and of nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "threat-model.md").read_text()
ROW = re.compile(r"^\| (S\d+) \| .+ \| (done|part|later) \| (.+) \|$", re.MULTILINE)


def test_every_attack_has_a_row_and_what_is_done_a_test() -> None:
    rows = {number: (state, control) for number, state, control in ROW.findall(TEXT)}
    assert list(rows) == [f"S{number}" for number in range(1, 22)]
    for number, (state, control) in rows.items():
        assert state != "done" or "`tests/" in control, number


def test_whatever_it_names_exists() -> None:
    named = set(re.findall(r"`((?:tests|docs|core|hub|adapters)/[\w./-]+)`", TEXT))
    assert len(named) > 10
    for name in named:
        inside = ROOT if name.startswith(("tests/", "docs/")) else ROOT / "jupyter_gpu_jit"
        assert (inside / name).exists(), name
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target


def test_security_says_where_and_how_soon() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    assert "Report a\nvulnerability" in text
    assert "working days" in text
    assert "example.com" not in text
