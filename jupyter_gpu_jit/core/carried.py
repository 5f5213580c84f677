"""A KubeSpawner ``profile_list`` as it stands, made into profiles of ours.

Each entry becomes a profile. An option of it whose choices vary exactly one thing that we know
(GPUs, CPU, memory, image) becomes a choice of the profile; of any other option each choice becomes
a profile of its own. KubeSpawner's names keep working in forms and API calls: ``Adopted.options``
translates them before ``resolve`` judges. Called by hub/profile_list.py. Pure.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from .carried_options import Entry, Free, Option
from .choices import CHOOSABLE
from .model import Profile
from .options import PROFILE_KEY, check_size
from .overrides import NotOffered, Settings, check_names, merged, read, remainder
from .profile_schema import MAX_DESCRIPTION, MAX_PROFILES
from .profiles import parse_profiles
from .texts import quote, suggest

MAX_VARIANTS = 24
_MARKUP = re.compile(r"</?[A-Za-z][^>]*>")
_KEYS = frozenset(
    {
        "display_name",
        "default",
        "description",
        "slug",
        "kubespawner_override",
        "profile_options",
    }
)
_FIELDS = {
    "gpus": frozenset({"extra_resource_limits", "extra_resource_guarantees"}),
    "cpu": frozenset({"cpu_guarantee", "cpu_limit"}),
    "memory": frozenset({"mem_guarantee", "mem_limit"}),
    "image": frozenset({"image"}),
}


@dataclass(frozen=True, slots=True)
class Adopted:
    """Profiles, the settings that each adds to its pod, and what could not be carried.

    ``pods`` has, by slug, overrides in the order in which they apply. ``said`` has one line a
    sentence, beginning with the profile's name.
    """

    profiles: tuple[Profile, ...] = ()
    pods: Mapping[str, tuple[Settings, ...]] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    entries: Mapping[str, Entry] = field(default_factory=dict)

    def options(self, choices: Mapping[str, object] | None) -> Mapping[str, object] | None:
        """The choices in our words where they are in KubeSpawner's. Raises UserError."""
        if not isinstance(choices, Mapping) or not self.profiles:
            return choices
        check_size(choices)
        slug = choices.get(PROFILE_KEY, self.profiles[0].slug)
        entry = self.entries.get(slug) if isinstance(slug, str) else None
        return entry.translated(choices) if entry else choices


@dataclass(slots=True)
class _Reading:
    """One run of ``adopt``: what holds for all entries, and what was found so far."""

    base: Mapping[str, Any]
    known: frozenset[str]
    capacity: str
    slugs: set[str] = field(default_factory=set)
    profiles: list[Profile] = field(default_factory=list)
    pods: dict[str, tuple[Settings, ...]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def adopt(
    items: object,
    base: Mapping[str, Any],
    *,
    slugify: Callable[[str], str],
    known: frozenset[str] = frozenset(),
    capacity: str = "on-demand",
) -> Adopted:
    """What a ``profile_list`` (list, or dict of entries) offers.

    ``base`` are the hub-wide settings that an override merges into, ``known`` the names of all
    settings of KubeSpawner; ``slugify`` makes a slug of a name as KubeSpawner does. Raises
    UserError with one line a problem.
    """
    run = _Reading(base, known, capacity)
    entries = _in_order(items, slugify, run.problems)
    run.slugs.update(_own_slug(entry) for entry in entries)
    for entry in entries:
        _adopt_entry(run, entry)
    if not run.problems and not run.profiles:
        run.problems.append("no profile of it can be offered:")
        run.problems += run.said
    if len(run.profiles) > MAX_PROFILES:
        run.problems.append(f"it has more than {MAX_PROFILES} profiles.")
    if run.problems:
        raise UserError("\n".join(run.problems[:10]), reason="BadProfileList")
    return Adopted(tuple(run.profiles), run.pods, tuple(run.said), run.entries)


def _in_order(
    items: object, slugify: Callable[[str], str], problems: list[str]
) -> list[dict[str, Any]]:
    """Entries with a slug each, the default one first."""
    if isinstance(items, Mapping):  # KubeSpawner sorts them by their keys
        items = [items[key] for key in sorted(items)]
    if not isinstance(items, (list, tuple)):
        problems.append(f"it must be a list or a mapping of profiles, not {quote(items)}.")
        return []
    entries = []
    for position, item in enumerate(items):
        wrong = _wrong_with(item)
        if wrong:
            problems.append(f"entry {position}: {wrong}")
            continue
        entries.append({**item, "slug": item.get("slug") or slugify(item["display_name"])})
    slugs = [_own_slug(entry) for entry in entries]
    for slug in sorted({slug for slug in slugs if slugs.count(slug) > 1}):
        problems.append(f"the slug {quote(slug)} is that of two entries.")
    return sorted(entries, key=lambda entry: not entry.get("default"))


def _wrong_with(item: object) -> str:
    """What keeps an entry from being read at all; empty when nothing does."""
    if not isinstance(item, Mapping):
        return f"must be a mapping, not {quote(item)}."
    if not isinstance(item.get("display_name"), str) or not item["display_name"].strip():
        return "display_name must be a text that is not empty."
    if not isinstance(item.get("slug", ""), str):
        return f"slug must be a text, not {quote(item['slug'])}."
    if not isinstance(item.get("kubespawner_override", {}), Mapping):
        return f"kubespawner_override must be a mapping, not {quote(item['kubespawner_override'])}."
    options = item.get("profile_options", {})
    if not isinstance(options, Mapping):
        return f"profile_options must be a mapping, not {quote(options)}."
    return next((wrong for name, option in options.items() if (wrong := _wrong(name, option))), "")


def _wrong(name: object, option: object) -> str:
    """What keeps an option from being read; empty when nothing does."""
    if not isinstance(option, Mapping):
        return f"the option {quote(name)} must be a mapping, not {quote(option)}."
    choices, free = option.get("choices") or {}, option.get("unlisted_choice") or {}
    rows = [*(choices.values() if isinstance(choices, Mapping) else [None]), free]
    for row in rows:
        if not isinstance(row, Mapping) or not isinstance(
            row.get("kubespawner_override", {}), Mapping
        ):
            return f"the option {quote(name)} must have a mapping for each of its choices."
    return ""


def _own_slug(entry: Mapping[str, Any]) -> str:
    """KubeSpawner's slug as one of ours."""
    words = re.sub(r"[^a-z0-9]+", "-", str(entry["slug"]).lower())
    return words[:63].strip("-") or "profile"


# --- one entry -------------------------------------------------------------------------------


def _adopt_entry(run: _Reading, entry: Mapping[str, Any]) -> None:
    """Add the profiles of one entry, or why there are none."""
    name = " ".join(str(entry["display_name"]).split())
    said: list[str] = []
    try:
        _Maker(run, entry, name, said.append).make()
    except NotOffered as error:
        said.append(f"it is left out: {error.user_message}")
    except UserError as error:
        run.problems += [f"{name}: {line}" for line in error.user_message.splitlines()]
    run.said += [f"{name}: {line}" for line in dict.fromkeys(said)]


class _Maker:
    """Reads one entry; ``make`` adds what it finds to the run."""

    def __init__(
        self, run: _Reading, entry: Mapping[str, Any], name: str, say: Callable[[str], None]
    ) -> None:
        self.run, self.entry, self.name, self.say = run, entry, name, say
        for key in entry:
            if key not in _KEYS:
                say(f"{quote(key)} has no meaning to KubeSpawner; {suggest(key, sorted(_KEYS))}")
        self.override = check_names(entry.get("kubespawner_override", {}), run.known, say)
        self.options = [
            self._option(str(key), option)
            for key, option in (entry.get("profile_options") or {}).items()
        ]

    def _option(self, name: str, option: Mapping[str, Any]) -> Option:
        rows = {str(key): row for key, row in (option.get("choices") or {}).items()}
        overrides = {
            key: check_names(row.get("kubespawner_override", {}), self.run.known, self.say)
            for key, row in rows.items()
        }
        free = option.get("unlisted_choice") or {}
        default = next((key for key, row in rows.items() if row.get("default")), None)
        return Option(
            name=name,
            overrides=overrides,
            labels={key: str(row.get("display_name") or key) for key, row in rows.items()},
            default=default if default is not None else next(iter(rows), ""),
            free=self._free(name, free) if free.get("enabled") else None,
        )

    def _free(self, name: str, row: Mapping[str, Any]) -> Free | None:
        override = row.get("kubespawner_override", {})
        template = override.get("image", override.get("image_spec"))
        if len(override) != 1 or not isinstance(template, str):
            self.say(f"the free text of {name} is not carried: only images may be written freely.")
            return None
        free, why = Free.reading(template, row.get("validation_regex"))
        if why:
            self.say(f"the free text of {name} {why}")
        return free

    # --- profiles ----------------------------------------------------------------------------

    def make(self) -> None:
        """One profile for each way to choose among the options that are no choices of ours."""
        spread = [option for option in self.options if not self._make_field(option)]
        spread = self._few_enough(spread)
        entry = Entry(_own_slug(self.entry), self.options)
        for keys in itertools.product(*(option.keys for option in spread)):
            chosen = {option.name: key for option, key in zip(spread, keys, strict=True)}
            slug, profile = self._profile(chosen)
            if profile is not None:
                entry.slugs[tuple(chosen.values())] = slug
        entry.spread = [option.name for option in spread]
        self._register(entry)

    def _few_enough(self, spread: list[Option]) -> list[Option]:
        """The options that become profiles; those beyond the limit keep their default."""
        found: list[Option] = []
        count = 1
        for option in spread:
            if not option.overrides:
                continue
            if count * len(option.overrides) > MAX_VARIANTS:
                self.say(f"the option {option.name} is not carried: its default holds.")
                continue
            count *= len(option.overrides)
            found.append(option)
        return found

    def _register(self, entry: Entry) -> None:
        for slug in {str(self.entry["slug"]), entry.slug}:
            self.run.entries[slug] = entry
        for slug in entry.slugs.values():
            self.run.entries.setdefault(slug, entry.of_variant(slug))

    def _profile(self, chosen: Mapping[str, str]) -> tuple[str, Profile | None]:
        """The profile of these choices, registered; None when only this variant is left out."""
        is_default = all(o.default == chosen.get(o.name, o.default) for o in self.options)
        slug = _own_slug(self.entry) if is_default else self._free_slug(chosen.values())
        labels = [o.labels[chosen[o.name]] for o in self.options if o.name in chosen]
        try:
            data, taken = self._read(chosen)
        except NotOffered as error:
            if not chosen:
                raise
            self.say(f"{', '.join(labels)} is left out: {error.user_message}")
            return slug, None
        words = {"slug": slug, "display_name": self._shown(labels), **self._description()}
        choices = {o.field_name: o.rule(data.get("image")) for o in self.options if o.field_name}
        profile = _parsed({**data, **words, **({"choices": choices} if choices else {})})
        self.run.slugs.add(slug)
        self.run.profiles.append(profile)
        self.run.pods[slug] = (*self._overrides(chosen), taken)
        return slug, profile

    def _read(self, chosen: Mapping[str, str]) -> tuple[Settings, Settings]:
        settings = merged(self.run.base, *self._overrides(chosen))
        data, taken = read(settings, self.say)
        return {"capacity": self.run.capacity, **data}, taken

    def _overrides(self, chosen: Mapping[str, str]) -> Iterator[Settings]:
        yield self.override
        for option in self.options:
            yield option.overrides.get(chosen.get(option.name, option.default), {})

    def _free_slug(self, keys: Any) -> str:
        stem = _own_slug({"slug": "-".join([_own_slug(self.entry), *keys])})[:58].strip("-")
        numbers = itertools.chain([""], (f"-{n}" for n in itertools.count(2)))
        return next(slug for n in numbers if (slug := stem + n) not in self.run.slugs)

    def _shown(self, labels: Sequence[str]) -> str:
        whole = " ".join(f"{self.name}{': ' if labels else ''}{', '.join(labels)}".split())
        return self._plain(whole, 100, "display_name")

    def _description(self) -> Settings:
        text = str(self.entry.get("description") or "").strip()
        return {"description": self._plain(text, MAX_DESCRIPTION, "description")} if text else {}

    def _plain(self, text: str, most: int, what: str) -> str:
        """A text as our page shows it, which is as text."""
        if _MARKUP.search(text):
            self.say(f"the markup in its {what} is taken out: it is shown as plain text.")
            text = _MARKUP.sub("", text)
        text = "".join(c for c in text if c.isprintable() or c == "\n")
        if len(text) > most:
            self.say(f"its {what} is cut to {most} characters.")
        return text[:most].strip() or "Profile"

    # --- options that are choices of ours ------------------------------------------------------

    def _make_field(self, option: Option) -> bool:
        """Whether the option varies exactly one thing we know; then it says so itself."""
        touched = {name for row in option.overrides.values() for name in row}
        for name, keys in _FIELDS.items():
            only_free_image = not option.overrides and option.free and name == "image"
            if not (only_free_image or (touched and touched <= keys)) or self._also(option, keys):
                continue
            values = self._values(option, name)
            if values is not None:
                option.field_name, option.values = name, values
                return True
        if option.free:
            self.say(f"the free text of {option.name} is not carried: its choices vary more.")
            option.free = None
        return False

    def _also(self, option: Option, keys: frozenset[str]) -> bool:
        """Whether another option sets one of these settings too."""
        others = [o for o in self.options if o is not option]
        rows = [row for o in others for row in o.overrides.values()]
        return any(keys & set(row) for row in rows) or (
            "image" in keys and any(o.free for o in others)
        )

    def _values(self, option: Option, name: str) -> dict[str, str | int] | None:
        """The values of our field for each choice, if choosing them gives just those profiles."""
        row = CHOOSABLE[name]
        try:
            each = {key: self._alone({option.name: key}) for key in option.overrides}
        except UserError:
            return None
        plain, rest = self._alone({option.name: option.default})
        found: dict[str, str | int] = {}
        for key, (profile, other) in each.items():
            value = row.own(profile)
            if not value or other != rest or row.apply(plain, value) != profile:
                return None
            found[key] = value
        return found if _is_unambiguous(found) else None

    def _alone(self, chosen: Mapping[str, str]) -> tuple[Profile, Settings]:
        """The profile of these choices, and what only its pod shows."""
        settings = merged(self.run.base, *self._overrides(chosen))
        data, _ = read(settings, lambda line: None)
        return _parsed({"slug": "x", **data}), remainder(settings)


def _is_unambiguous(values: Mapping[str, str | int]) -> bool:
    """Whether no choice has the name of what another one stands for."""
    names = {str(value) for value in values.values()}
    return all(key not in names or str(value) == key for key, value in values.items())


def _parsed(data: Settings) -> Profile:
    """A profile of ours from its data. Raises UserError with the places as an admin knows them."""
    try:
        (profile,) = parse_profiles([data])
    except UserError as error:
        lines = [line.removeprefix("profiles[0].") for line in error.user_message.splitlines()]
        raise UserError("\n".join(lines), reason=error.reason) from None
    return profile
