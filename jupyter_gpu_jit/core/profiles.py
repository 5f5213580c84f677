"""Profile definitions: from plain data (YAML, traits) to Profile and back, with every slip named.

The hub's spawner, the service and the command line read their profiles through
``parse_profiles``. The keys and what they mean are in profile_schema.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ..errors import UserError
from .choices import CHOOSABLE, Between, Choosable, Matching, OneOf, Rule, Value
from .model import Profile
from .profile_hardware import hardware_data, read_hardware
from .profile_schema import MAX_DESCRIPTION, MAX_PROFILES, PROFILE
from .quantity import GIB, MICRO_USD, format_bytes, format_cpu
from .requirements import CapacityPolicy
from .sections import Section
from .sizes import (
    MAX_HOURS,
    bad,
    read_capacity,
    read_cpu,
    read_hours,
    read_image,
    read_memory,
    read_number,
    read_shared_memory,
    read_slug,
    read_text,
    read_usd_per_hour,
    read_zone,
)
from .texts import quote

T = TypeVar("T")
Data = dict[str, Any]
_SHOWN_PROBLEMS = 10


def parse_profiles(data: object) -> tuple[Profile, ...]:
    """Profiles from a list of mappings, or a mapping with the key ``profiles``.

    Raises UserError whose message names up to ten problems, one a line, each with its path.
    """
    problems: list[str] = []
    profiles = _read_file(data, problems)
    if problems:
        more = len(problems) - _SHOWN_PROBLEMS
        tail = [f"... and {more} more."] if more > 0 else []
        raise UserError("\n".join(problems[:_SHOWN_PROBLEMS] + tail), reason="BadProfiles")
    return profiles


def _read_file(data: object, problems: list[str]) -> tuple[Profile, ...]:
    if isinstance(data, Mapping):
        Section("", data, problems).only({"profiles": None})
        data = data.get("profiles")
    if not isinstance(data, (list, tuple)) or not data:
        problems.append(f"profiles: must be a list of at least one profile, not {quote(data)}.")
        return ()
    if len(data) > MAX_PROFILES:
        problems.append(f"profiles: must be at most {MAX_PROFILES}, not {len(data)}.")
        return ()
    return tuple(_read_profiles(data, problems))


def _read_profiles(items: list[Any] | tuple[Any, ...], problems: list[str]) -> Iterator[Profile]:
    first_of: dict[str, int] = {}
    for position, item in enumerate(items):
        path = f"profiles[{position}]"
        if not isinstance(item, Mapping):
            problems.append(f"{path}: must be a mapping, not {quote(item)}.")
            continue
        profile = read_profile(Section(path, item, problems))
        first = first_of.setdefault(profile.slug, position)
        if profile.slug and first != position:
            problems.append(f"{path}.slug: {quote(profile.slug)} is that of profiles[{first}].")
        yield profile


def read_profile(at: Section) -> Profile:
    """The profile in a mapping; whatever is wrong with it is noted there."""
    at.only(PROFILE["properties"])
    if "slug" not in at.body:
        at.note("slug", "is missing.")
    slug = at.get("slug", read_slug, "")
    cpu, cpu_limit = _read_amount(at, "cpu", read_cpu, 1000)
    memory, memory_limit = _read_amount(at, "memory", read_memory, GIB)
    profile = Profile(
        slug=slug,
        display_name=at.get("display_name", _read_name, slug),
        description=at.get("description", _read_description, ""),
        **read_hardware(at),
        cpu_guarantee_millicpu=cpu,
        cpu_limit_millicpu=cpu_limit,
        memory_guarantee_bytes=memory,
        memory_limit_bytes=memory_limit,
        shared_memory_bytes=at.get("shared_memory", _optional(read_shared_memory), None),
        image=at.get("image", _optional(read_image), None),
        capacity=at.get("capacity", read_capacity, CapacityPolicy.SPOT),
        zones=at.list("zones", read_zone),
        max_seconds=at.get("most_hours", _optional(_read_most_hours), None),
        max_usd_per_hour_micro=at.get("usd_per_hour_cap", _optional(read_usd_per_hour), None),
        groups=at.list("groups", _read_group),
    )
    return _with_choices(at, profile)


def _optional(read: Callable[[object], T]) -> Callable[[object], T | None]:
    return read


def _read_name(value: object) -> str:
    if not (text := read_text(value, most=100)).strip():
        raise bad("must not be empty.")
    return text


def _read_description(value: object) -> str:
    return read_text(value, most=MAX_DESCRIPTION, lines=True)


def _read_group(value: object) -> str:
    if not (text := read_text(value, most=255)).strip():
        raise bad("must not be empty.")
    return text


def _read_most_hours(value: object) -> int:
    return max(1, round(read_number(value, most=MAX_HOURS) * 3600))


def _read_amount(
    at: Section, key: str, read: Callable[[object], int], default: int
) -> tuple[int, int | None]:
    """Guarantee and limit of CPU or memory; no limit is None."""
    if not isinstance(at.body.get(key), Mapping):
        return at.get(key, read, default), None
    inner = at.section(key)
    inner.only({"guarantee": None, "limit": None})
    if "guarantee" not in inner.body:
        inner.note("guarantee", "is missing.")
    guarantee = inner.get("guarantee", read, 0)
    limit = inner.get("limit", _optional(read), None)
    if limit is not None and limit < guarantee:
        inner.note("limit", "must not be below the guarantee.")
    return guarantee or default, limit


# --- choices ---------------------------------------------------------------------------------


def _with_choices(at: Section, profile: Profile) -> Profile:
    """The profile with its choices, and what can only be judged with both at hand."""
    choices: dict[str, Rule] = {}
    if "choices" in at.body:
        choices = _read_choices(at, profile)
    hours = choices.get("hours")
    if isinstance(hours, Between) and profile.max_seconds is None:
        profile = replace(profile, max_seconds=hours.maximum * 3600)
    _check_shared_memory(at, profile, choices)
    return replace(profile, choices=choices)


def _check_shared_memory(at: Section, profile: Profile, choices: Mapping[str, Rule]) -> None:
    shared, rule = profile.shared_memory_bytes, choices.get("memory")
    amounts = [profile.memory_guarantee_bytes]
    if isinstance(rule, OneOf):
        amounts += [read_memory(value) for value in rule.values]
    if shared is not None and shared > min(amounts):
        least = format_bytes(min(amounts))
        at.note("shared_memory", f"is counted in the memory, so at most {least}.")


def _read_choices(at: Section, profile: Profile) -> dict[str, Rule]:
    if not isinstance(at.body["choices"], Mapping):
        at.note("choices", f"must be a mapping, not {quote(at.body['choices'])}.")
        return {}
    inner = at.section("choices")
    inner.only(CHOOSABLE)
    found = {
        name: rule
        for name, row in CHOOSABLE.items()
        if name in inner.body and (rule := _READ_RULE[row.rule](inner, row)) is not None
    }
    for name, rule in found.items():
        _check_own(inner, profile, CHOOSABLE[name], rule)
    return found


def _check_own(inner: Section, profile: Profile, row: Choosable, rule: Rule) -> None:
    """The profile's own value is what one gets without choosing, so it must be a choice too."""
    own = row.own(profile)
    if row.name == "gpus" and not profile.gpus:
        inner.note("gpus", "a profile without GPUs has no choice of them.")
    elif row.name == "gpus" and profile.gpu_share:
        inner.note("gpus", "a profile of a share has one; there is no choice.")
    elif row.name == "hours" and (profile.max_seconds or 0) % 3600:
        inner.note("hours", "a choice of hours needs most_hours to be whole hours.")
    elif own is not None and not rule.accepts(own):
        inner.note(row.name, f"must include the profile's own {quote(own)}.")
    if row.name == "zone" and isinstance(rule, OneOf) and profile.zones:
        for zone in set(rule.values) - set(profile.zones):
            inner.note("zone", f"{quote(zone)} is not among the profile's zones.")


def _read_list_rule(inner: Section, row: Choosable) -> Rule | None:
    values = inner.list(row.name, row.read)
    if not values and not inner.body[row.name]:
        inner.note(row.name, "must have at least one entry.")
    return OneOf(values) if values else None


def _read_range_rule(inner: Section, row: Choosable) -> Rule | None:
    if not isinstance(inner.body[row.name], Mapping):
        inner.note(row.name, "must be a mapping of minimum and maximum.")
        return None
    bounds = inner.section(row.name)
    bounds.only({"minimum": None, "maximum": None})
    if "maximum" not in bounds.body:
        bounds.note("maximum", "is missing.")
    minimum = bounds.get("minimum", read_hours, 1)
    maximum = bounds.get("maximum", read_hours, MAX_HOURS)
    if minimum > maximum:
        bounds.note("maximum", "must not be below the minimum.")
    return Between(minimum, maximum)


def _read_pattern_rule(inner: Section, row: Choosable) -> Rule | None:
    if not isinstance(inner.body[row.name], Mapping):
        return _read_list_rule(inner, row)
    both = inner.section(row.name)
    both.only({"list": None, "pattern": None})
    values: tuple[Value, ...] = both.list("list", row.read)
    if "pattern" in both.body:
        pattern = both.get("pattern", _read_pattern, "")
        return Matching(pattern, values)
    if not values:
        inner.note(row.name, "must have a list or a pattern.")
    return OneOf(values) if values else None


def _read_pattern(value: object) -> str:
    text = read_text(value)
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise bad(f"is no regular expression ({error}).") from None
    return text


_READ_RULE: Mapping[str, Callable[[Section, Choosable], Rule | None]] = {
    "list": _read_list_rule,
    "range": _read_range_rule,
    "pattern": _read_pattern_rule,
}


# --- and back --------------------------------------------------------------------------------


def profile_to_dict(profile: Profile) -> Data:
    """The profile as a file would have it, without what is default; parses back to an equal one."""
    plain: Data = {
        "slug": profile.slug,
        "display_name": profile.display_name,
        "description": profile.description,
        **hardware_data(profile),
        "cpu": _amount_data(format_cpu, profile.cpu_guarantee_millicpu, profile.cpu_limit_millicpu),
        "memory": _amount_data(
            format_bytes, profile.memory_guarantee_bytes, profile.memory_limit_bytes
        ),
        "image": profile.image,
        "capacity": profile.capacity.value,
        "zones": list(profile.zones),
        "most_hours": _hours_data(profile.max_seconds),
        "usd_per_hour_cap": _usd_data(profile.max_usd_per_hour_micro),
        "groups": list(profile.groups),
        "choices": {name: _rule_data(rule) for name, rule in profile.choices.items()},
    }
    if profile.shared_memory_bytes is not None:
        plain["shared_memory"] = format_bytes(profile.shared_memory_bytes)
    return {key: value for key, value in plain.items() if value}


def _amount_data(form: Callable[[int], str], guarantee: int, limit: int | None) -> str | Data:
    if limit is None:
        return form(guarantee)
    return {"guarantee": form(guarantee), "limit": form(limit)}


def _hours_data(seconds: int | None) -> int | float | None:
    if seconds is None:
        return None
    return seconds // 3600 if seconds % 3600 == 0 else seconds / 3600


def _usd_data(micro: int | None) -> int | float | None:
    if micro is None:
        return None
    return micro // MICRO_USD if micro % MICRO_USD == 0 else micro / MICRO_USD


def _rule_data(rule: Rule) -> list[Value] | Data:
    match rule:
        case OneOf():
            return [str(v) if isinstance(v, str) else v for v in rule.values]
        case Between():
            return {"minimum": rule.minimum, "maximum": rule.maximum}
    listed = {"list": list(rule.values)} if rule.values else {}
    return {"pattern": rule.pattern, **listed}
