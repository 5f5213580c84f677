"""Commands that need no cluster and no hub: validate, simulate, bench. Called by ``main``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..errors import UserError
from .shared import needs_extra, say


def validate(asked: argparse.Namespace) -> int:
    """Say what is wrong in a file of profiles. Raises UserError."""
    needs_extra("yaml", "hub")
    if asked.profile_list:
        return _validate_profile_list(asked.file)
    import yaml

    from ..core.options import parse_profiles

    try:
        data = yaml.safe_load(asked.file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{asked.file} cannot be read as YAML: {error}") from error
    profiles = parse_profiles(data)
    say(f"{asked.file}: {len(profiles)} profiles: {', '.join(p.slug for p in profiles)}")
    return 0


def _validate_profile_list(file: Path) -> int:
    """Say what of a KubeSpawner profile_list is carried and what is not. Raises UserError."""
    needs_extra("kubespawner", "hub")
    from ..core.quantity import format_bytes, format_cpu
    from ..hub.profile_list import check_file

    said, profiles = check_file(file)
    say(f"{file}: {len(profiles)} profiles of profile_list")
    for profile in profiles:
        cpu = format_cpu(profile.cpu_guarantee_millicpu)
        memory = format_bytes(profile.memory_guarantee_bytes)
        varied = f"; to choose: {', '.join(profile.choices)}" if profile.choices else ""
        say(f"  {profile.slug}: {profile.gpus} GPU, {cpu} CPU, {memory}{varied}")
    for line in said:
        say(f"- {line}")
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
