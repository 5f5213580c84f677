"""What a user chose, made into a profile: the one function every start goes through.

Form, REST API, widget and named servers all end in ``resolve``; whatever a caller may send
either gives a variation of a profile that the admin allowed, or a UserError with a sentence.
The declaration behind it is the table in choices.py. Called by the hub and the service.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UserError
from .choices import CHOOSABLE, Between, Choosable, OneOf, Rule, Value, apply_choice
from .model import Profile
from .profile_schema import MAX_PROFILES, profile_schema
from .profiles import parse_profiles, profile_to_dict
from .sizes import MAX_TEXT
from .texts import quote, suggest

__all__ = [
    "Field",
    "Resolved",
    "check_size",
    "form_fields",
    "from_form",
    "options_schema",
    "parse_profiles",
    "profile_schema",
    "profile_to_dict",
    "resolve",
    "usable_profiles",
]

MAX_KEY = 64
MAX_TOTAL = 16 * 1024
MAX_DEPTH = 8
MAX_FIELDS = MAX_PROFILES * (len(CHOOSABLE) + 1)
PROFILE_KEY = "profile"


@dataclass(frozen=True, slots=True)
class Resolved:
    """The profile as chosen, and the choices in canonical form: resolving those gives the same."""

    profile: Profile
    user_options: dict[str, str | int]


def usable_profiles(profiles: Sequence[Profile], groups: Collection[str]) -> tuple[Profile, ...]:
    """The profiles somebody in these groups may use, in the admin's order."""
    return tuple(p for p in profiles if not p.groups or not set(p.groups).isdisjoint(groups))


def resolve(
    profiles: Sequence[Profile],
    choices: Mapping[str, object] | None,
    *,
    groups: Collection[str],
) -> Resolved:
    """The profile a user gets for these choices; nothing chosen means the first usable one.

    Raises UserError with one sentence for anything else than an allowed choice.
    """
    asked = _checked_mapping(choices)
    profile = _chosen_profile(usable_profiles(profiles, groups), asked)
    canonical: dict[str, str | int] = {PROFILE_KEY: profile.slug}
    known = [name for name in CHOOSABLE if name in profile.choices]
    for key in asked:
        if key != PROFILE_KEY and key not in known:
            raise _unknown_key(key, profile, known)
    for name in known:
        if name in asked:
            profile, value = apply_choice(profile, name, asked[name])
            canonical[name] = str(value) if isinstance(value, str) else value
    return Resolved(profile, canonical)


def _unknown_key(key: str, profile: Profile, known: Sequence[str]) -> UserError:
    names = [PROFILE_KEY, *known]
    return UserError(
        f"The profile {profile.slug} has no option {quote(key)}; {suggest(key, names)}",
        reason="UnknownOption",
    )


def _checked_mapping(choices: object) -> Mapping[str, object]:
    if choices is None:
        return {}
    if not isinstance(choices, Mapping):
        raise UserError(
            f'Options must be a mapping such as {{"profile": "..."}}, not {quote(choices)}.',
            reason="BadOptions",
        )
    check_size(choices)
    return choices


def _chosen_profile(usable: Sequence[Profile], asked: Mapping[str, object]) -> Profile:
    if not usable:
        raise UserError(
            "No profile is open to you; ask an administrator of this hub for a group that has one.",
            reason="NoProfile",
        )
    if PROFILE_KEY not in asked:
        return usable[0]
    slug = asked[PROFILE_KEY]
    if not isinstance(slug, str):
        raise UserError(
            f'The option "profile" must be the name of a profile, not {quote(slug)}.',
            reason="BadOptions",
        )
    by_slug = {profile.slug: profile for profile in usable}
    if slug not in by_slug:
        raise UserError(
            f"There is no profile {quote(slug)} for you; {suggest(slug, by_slug)}",
            reason="UnknownProfile",
        )
    return by_slug[slug]


# --- size ------------------------------------------------------------------------------------


def check_size(value: object) -> None:
    """Raise UserError unless ``value`` is small plain JSON; without recursion, stops at the limit.

    At most 16 KiB of text and numbers, 8 levels, 256 characters a text, 64 a key, numbers that
    are finite and fit 64 bits.
    """
    budget = MAX_TOTAL
    waiting: list[tuple[object, int]] = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        budget -= _cost(item)
        if budget < 0 or depth > MAX_DEPTH:
            raise UserError(
                f"Options must be at most {MAX_TOTAL // 1024} KiB and {MAX_DEPTH} levels deep.",
                reason="TooLarge",
            )
        waiting.extend((child, depth + 1) for child in _children(item, budget))


def _children(item: object, budget: int) -> Iterator[object]:
    """What is inside a container; no more of it than the budget could ever allow."""
    if isinstance(item, Mapping):
        if len(item) > budget:
            raise UserError(f"Options must be at most {MAX_TOTAL // 1024} KiB.", reason="TooLarge")
        for key, value in item.items():
            _check_key(key)
            yield key
            yield value
    elif isinstance(item, (list, tuple)):
        yield from item[: budget + 1]


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY:
        shown = quote(key)
        raise UserError(
            f"The name of an option is a text of 1 to {MAX_KEY} characters, not {shown}.",
            reason="BadOptions",
        )


def _cost(item: object) -> int:
    """Rough size in bytes of one value without what it contains."""
    match item:
        case str():
            if len(item) > MAX_TEXT:
                raise UserError(
                    f"A text in the options has {len(item)} characters, more than {MAX_TEXT}.",
                    reason="TooLarge",
                )
            return len(item.encode("utf-8", "surrogatepass")) + 2
        case int() if item.bit_length() > 64:
            raise UserError("A number in the options is too large.", reason="BadOptions")
        case float() if not math.isfinite(item):
            raise UserError("A number in the options is not finite.", reason="BadOptions")
        case None | int() | float() | list() | tuple() | Mapping():
            return 4
    raise UserError(f"Options cannot hold {quote(item)}.", reason="BadOptions")


# --- forms -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One input of the form. ``kind`` is select, number or text; ``options`` are (value, label).

    ``default`` "" means the profile leaves it open. ``pattern`` is for the whole text.
    """

    name: str
    label: str
    kind: str
    options: tuple[tuple[str, str], ...] = ()
    default: str = ""
    minimum: int | None = None
    maximum: int | None = None
    pattern: str = ""


def form_fields(profile: Profile) -> tuple[Field, ...]:
    """The inputs of a profile's form, in the order of the table."""
    return tuple(
        _field(row, profile.choices[name], profile)
        for name, row in CHOOSABLE.items()
        if name in profile.choices
    )


def _field(row: Choosable, rule: Rule, profile: Profile) -> Field:
    own = row.own(profile)
    plain = Field(name=row.name, label=row.label, kind="text", default=_own_text(own))
    match rule:
        case OneOf():
            open_choice = (("", row.open_label),) if own is None else ()
            return replace(plain, kind="select", options=open_choice + _labelled(row, rule.values))
        case Between():
            return replace(plain, kind="number", minimum=rule.minimum, maximum=rule.maximum)
    return replace(plain, options=_labelled(row, rule.values), pattern=rule.pattern)


def _own_text(own: Value | None) -> str:
    return "" if own is None else str(own)


def _labelled(row: Choosable, values: Sequence[Value]) -> tuple[tuple[str, str], ...]:
    return tuple((str(value), row.describe(value)) for value in values)


_UPSTREAM = "profile-option-"
_WHOLE = re.compile(r"[0-9]{1,9}")
_IGNORED = frozenset({"_xsrf"})


def from_form(fields: Mapping[str, Sequence[str | bytes]]) -> dict[str, object]:
    """The choices in HTML form data; blank inputs are not chosen, digits become whole numbers.

    Understands plain names and KubeSpawner's ``profile-option-SLUG--OPTION`` (those of other
    profiles than the chosen one are left out, as browsers send them all). Raises UserError.
    """
    if not isinstance(fields, Mapping):
        raise UserError(f"A form must be a mapping, not {quote(fields)}.", reason="BadForm")
    if len(fields) > MAX_FIELDS:
        raise UserError("The form has too many fields.", reason="TooLarge")
    texts = {_form_key(k): _form_text(k, v) for k, v in fields.items() if k not in _IGNORED}
    chosen: dict[str, object] = {}
    for key, text in texts.items():
        name = _option_name(key, texts.get(PROFILE_KEY, ""))
        if name is None or (not text and name in CHOOSABLE):
            continue
        if name in chosen and chosen[name] != _typed(name, text):
            raise UserError(f"The form gives {quote(name)} twice.", reason="BadForm")
        chosen[name] = _typed(name, text)
    check_size(chosen)
    return chosen


def _form_key(key: object) -> str:
    if not isinstance(key, str) or len(key) > 2 * MAX_KEY + 16:
        raise UserError(f"The form has a field {quote(key)} that is no option.", reason="BadForm")
    return key


def _form_text(key: object, values: object) -> str:
    if not isinstance(values, (list, tuple)) or len(values) != 1:
        raise UserError(f"The form field {quote(key)} must be given once.", reason="BadForm")
    value = values[0]
    if not isinstance(value, (str, bytes)):
        raise UserError(f"The form field {quote(key)} must be a text.", reason="BadForm")
    if len(value) > MAX_TEXT:
        raise UserError(f"The form field {quote(key)} is too long.", reason="TooLarge")
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"The form field {quote(key)} is not UTF-8.", reason="BadForm") from None


def _option_name(key: str, slug: str) -> str | None:
    """The option a form field stands for; None when it belongs to a profile not chosen."""
    if not key.startswith(_UPSTREAM):
        return key
    own = f"{_UPSTREAM}{slug}--"
    return key.removeprefix(own) if key.startswith(own) else None


def _typed(name: str, text: str) -> str | int:
    """Form data is all text: the fields that are whole numbers become such when they look it."""
    return int(text) if name in ("gpus", "hours") and _WHOLE.fullmatch(text) else text


# --- schema ----------------------------------------------------------------------------------


def options_schema(profiles: Sequence[Profile]) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the user options of those who may use these profiles.

    It asks for canonical values; ``resolve`` also takes other spellings of a quantity.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "User options of jupyter_gpu_jit",
        "anyOf": [_profile_options(p, first=p is profiles[0]) for p in profiles],
    }


def _profile_options(profile: Profile, *, first: bool) -> dict[str, Any]:
    properties: dict[str, Any] = {PROFILE_KEY: {"const": profile.slug}}
    for name, row in CHOOSABLE.items():
        if name in profile.choices:
            properties[name] = {"title": row.label, **_rule_schema(profile.choices[name])}
    body: dict[str, Any] = {
        "title": profile.display_name,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
    return body if first else {**body, "required": [PROFILE_KEY]}


def _rule_schema(rule: Rule) -> dict[str, Any]:
    match rule:
        case OneOf():
            return {"enum": [str(v) if isinstance(v, str) else v for v in rule.values]}
        case Between():
            return {"type": "integer", "minimum": rule.minimum, "maximum": rule.maximum}
    text = {"type": "string", "maxLength": MAX_TEXT, "pattern": f"^(?:{rule.pattern})$"}
    return {"anyOf": [{"enum": list(rule.values)}, text]} if rule.values else text
