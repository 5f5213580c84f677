"""Commands that need no cluster and no hub: validate, simulate, bench. Called by ``main``."""

from __future__ import annotations

import argparse
import json

from ..errors import UserError
from .shared import needs_extra, say


def validate(asked: argparse.Namespace) -> int:
    """Say what is wrong in a file of profiles. Raises UserError."""
    needs_extra("yaml", "hub")
    import yaml

    from ..core.options import parse_profiles

    try:
        data = yaml.safe_load(asked.file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{asked.file} cannot be read as YAML: {error}") from error
    profiles = parse_profiles(data)
    say(f"{asked.file}: {len(profiles)} profiles: {', '.join(p.slug for p in profiles)}")
    return 0


def simulate(asked: argparse.Namespace) -> int:
    """Play a scenario and print its report."""
    from ..sim.scenarios import run_scenario

    say(str(run_scenario(asked.name, seed=asked.seed)))
    return 0


def bench(asked: argparse.Namespace) -> int:
    """Measure and print."""
    from . import figures

    rows = figures.run(asked.name)
    say(json.dumps(rows, indent=1) if asked.json else figures.table(rows))
    return 0
