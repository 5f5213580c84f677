"""The options of an adopted ``profile_list`` entry, and a user's choice among them in our words.

Part of carried.py, which makes these. KubeSpawner knows an option by its name and a choice by its
key (``image: minimal``), free text by ``image--unlisted-choice``; we know fields and values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from .choices import CHOOSABLE
from .options import PROFILE_KEY
from .overrides import Settings
from .sizes import MAX_TEXT
from .texts import quote

FREE = "--unlisted-choice"
_ANCHORS = re.compile(r"\\[AZzbB]|(?<!\[)\^|\$")


@dataclass(frozen=True, slots=True)
class Free:
    """Free text for an image: where it goes, and the pattern of the whole image."""

    template: str
    pattern: str

    @classmethod
    def reading(cls, template: str, regex: object) -> tuple[Free | None, str]:
        """The free text of an option, and what must be said of it ("" for nothing)."""
        inner = str(regex) if regex else ".+"
        # At both ends of a whole match they mean nothing, inside they cannot be put elsewhere.
        inner = inner.removeprefix("^")
        ended = inner.endswith("$") and not inner.endswith("\\$")
        inner = inner.removesuffix("$") if ended else inner
        if template.count("{value}") != 1:
            return None, 'is not carried: its image must hold "{value}" once.'
        before, _, after = (re.escape(part) for part in template.partition("{value}"))
        pattern = f"{before}(?:{inner}){after}"
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError):
            return None, f"is not carried: {quote(regex)} is no pattern that can be used here."
        is_part = bool(before or after)
        if (is_part and _ANCHORS.search(inner)) or len(pattern) > MAX_TEXT:
            return None, f"is not carried: {quote(regex)} is too special a pattern."
        said = "" if ended or not regex else f"must match {quote(regex)} as a whole, to its end."
        return cls(template, pattern), said

    def image(self, text: str) -> str:
        """The image that a text stands for; whether it may be is for ``resolve`` to say."""
        return self.template.replace("{value}", text)


@dataclass(slots=True, kw_only=True)
class Option:
    """One option of an entry. ``field_name`` is ours when its choices vary exactly that one."""

    name: str
    overrides: dict[str, Settings]
    labels: dict[str, str]
    default: str
    free: Free | None = None
    field_name: str = ""
    values: dict[str, str | int] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """The names of the choices, the default first."""
        return sorted(self.overrides, key=lambda key: key != self.default)

    @property
    def one_of(self) -> str:
        """The names of the choices for people."""
        return f"one of {', '.join(self.overrides) or 'none'}"

    def rule(self, image: str | None) -> Any:
        """The bounds as an admin would write them under ``choices``; ``image`` is the profile's."""
        values = list(dict.fromkeys(self.values.values()))
        if self.free is None:
            return values
        if image and image not in values:
            values.append(image)
        return {"pattern": self.free.pattern, **({"list": values} if values else {})}


@dataclass(slots=True)
class Entry:
    """What names of KubeSpawner mean for one entry. ``slugs``: profile of each spread choice."""

    slug: str
    options: list[Option]
    spread: list[str] = field(default_factory=list)
    slugs: dict[tuple[str, ...], str] = field(default_factory=dict)

    def of_variant(self, slug: str) -> Entry:
        """The same for somebody who names the profile of one choice: fields only."""
        return Entry(slug, [option for option in self.options if option.field_name])

    def translated(self, choices: Mapping[str, object]) -> dict[str, object]:
        """The choices in our words; what is in neither's is left for ``resolve`` to refuse.

        Raises UserError for a key that is no choice of an option.
        """
        found = dict(choices)
        chosen: dict[str, str] = {}
        for option in self.options:
            if option.field_name:
                _translate_field(option, found)
            elif option.name in self.spread:
                chosen[option.name] = _spread_choice(option, found)
        found[PROFILE_KEY] = self.slugs.get(tuple(chosen.values()), self.slug)
        return found


def _translate_field(option: Option, found: dict[str, object]) -> None:
    """Put our field and value where the option and its key are."""
    asked = found.get(option.name, "")
    free = found.pop(option.name + FREE, "") if option.free else ""
    value: object = option.values.get(_key(asked))
    if option.free and free != "":
        if not isinstance(free, str):
            raise _no_choice(option.name + FREE, free, "a text")
        value = option.free.image(free)
    elif value is None and asked != "" and option.name not in CHOOSABLE:
        raise _no_choice(option.name, asked, option.one_of)
    if value is not None or asked == "":
        found.pop(option.name, None)
    if value is not None and found.setdefault(option.field_name, value) != value:
        raise UserError(f"{quote(option.field_name)} is given twice.", reason="BadChoice")


def _spread_choice(option: Option, found: dict[str, object]) -> str:
    asked = found.pop(option.name, "")
    if asked == "":
        return option.default
    if _key(asked) not in option.overrides:
        raise _no_choice(option.name, asked, option.one_of)
    return _key(asked)


def _key(asked: object) -> str:
    """The name of a choice in JSON or a form, where a number may be written as one."""
    is_name = isinstance(asked, (str, int)) and not isinstance(asked, bool)
    return str(asked) if is_name else ""


def _no_choice(name: str, asked: object, allowed: str) -> UserError:
    return UserError(
        f"The choice {quote(name)} must be {allowed}, not {quote(asked)}.", reason="BadChoice"
    )
