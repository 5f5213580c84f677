"""A mapping of a file being read, which notes every slip with its path and reads on.

Used by profiles.py and by the files of ``gpu-jit plan`` (planfile.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..errors import UserError
from .choices import MAX_CHOICES
from .texts import quote, suggest

T = TypeVar("T")


class Section:
    """A mapping of the file being read: where it stands, and the problems met so far.

    A problem is noted with its path and reading goes on, so that an admin sees all at once.
    """

    def __init__(self, path: str, body: Mapping[Any, Any], problems: list[str]) -> None:
        self.path, self.body, self.problems = path, body, problems

    def note(self, where: str, message: str) -> None:
        """Remember a problem at a key of this mapping, or at itself ("")."""
        path = f"{self.path}.{where}" if where and self.path else where or self.path
        self.problems.append(f"{path}: {message}")

    def only(self, known: Mapping[str, Any]) -> None:
        """Note every key that has no meaning here."""
        for key in self.body:
            if not isinstance(key, str):
                self.note(str(quote(key)), "a key must be a text.")
            elif key not in known:
                shown = quote(key).strip('"')
                self.note(shown, suggest(key, known))

    def needs(self, *keys: str) -> None:
        """Note each of these keys that is not there."""
        for key in keys:
            if key not in self.body:
                self.note(key, "is missing.")

    def get(self, key: str, read: Callable[[object], T], default: T) -> T:
        """The value at ``key``; the default when it is missing or wrong (then noted)."""
        if key not in self.body:
            return default
        try:
            return read(self.body[key])
        except UserError as error:
            self.note(key, error.user_message)
            return default

    def list(self, key: str, read: Callable[[object], T]) -> tuple[T, ...]:
        """The list at ``key``, each item read; duplicates are noted."""
        if key not in self.body:
            return ()
        return read_list(self, key, self.body[key], read)

    def section(self, key: str) -> Section:
        """The mapping at ``key``, as a section of its own."""
        return Section(f"{self.path}.{key}" if self.path else key, self.body[key], self.problems)


def read_list(
    section: Section, key: str, value: object, read: Callable[[object], T]
) -> tuple[T, ...]:
    """A list without duplicates; whatever is wrong with it is noted under ``key``."""
    if not isinstance(value, (list, tuple)):
        section.note(key, f"must be a list, not {quote(value)}.")
        return ()
    if len(value) > MAX_CHOICES:
        section.note(key, f"must have at most {MAX_CHOICES} entries, not {len(value)}.")
        return ()
    read_items: list[T] = []
    for position, item in enumerate(value):
        try:
            found = read(item)
        except UserError as error:
            section.note(f"{key}[{position}]", error.user_message)
            continue
        if found in read_items:
            section.note(f"{key}[{position}]", f"{quote(item)} is there twice.")
        read_items.append(found)
    return tuple(read_items)


def rows(data: object, name: str, problems: list[str]) -> list[Section]:
    """The mappings of a file that is a list, or a mapping with that list as its only key."""
    if isinstance(data, Mapping):
        Section("", data, problems).only({name: None})
        data = data.get(name)
    if not isinstance(data, (list, tuple)):
        problems.append(f"{name}: must be a list, not {quote(data)}.")
        return []
    return _mappings(data, name, problems)


def sections(at: Section, key: str) -> list[Section]:
    """The mappings of the list at ``key``; none when it is missing or wrong (then noted)."""
    body = at.body.get(key, [])
    if not isinstance(body, (list, tuple)):
        at.note(key, f"must be a list, not {quote(body)}.")
        return []
    return _mappings(body, f"{at.path}.{key}", at.problems)


def _mappings(items: Sequence[object], path: str, problems: list[str]) -> list[Section]:
    found = []
    for position, item in enumerate(items):
        if isinstance(item, Mapping):
            found.append(Section(f"{path}[{position}]", item, problems))
        else:
            problems.append(f"{path}[{position}]: must be a mapping, not {quote(item)}.")
    return found


def complain(problems: Sequence[str]) -> None:
    """Raise UserError for the first problem, with how many more there are."""
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(problems[0] + more, reason="BadPlanFile")
