"""The files of ``gpu-jit plan``: sessions that are asked for, and nodes that are there already.

What the catalogue and Spot files say is read in planfile_market.py. Everything comes as plain
data (parsed JSON); whatever is wrong with it is one UserError: its first problem, with the path
in the file and the nearest right name. The forms are documented in planfile_schema.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import UserError
from .layouts import WHOLE, layouts_of, room_of
from .model import InstanceType, Offering, Profile, Resources, Seat, SessionRequest
from .nodes import SESSION_TOLERATIONS, seat_of
from .packing.shapes import times
from .planfile_market import (
    no_such_type,
    read_allocatable,
    read_capacity_type,
    read_name,
)
from .planfile_schema import MAX_COUNT, MAX_SESSIONS, MAX_USER, NODE, REQUEST
from .profiles import read_profile
from .requirements import CapacityPolicy, CapacityType
from .sections import Section, complain, rows, sections
from .sizes import bad, read_flag, read_text, read_usd_per_hour, read_whole, read_zone
from .texts import quote, suggest

PARTS = ("requests", "catalogue", "spot", "nodes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """``count`` sessions of one profile; ``index`` is its place in the file.

    All are of ``user``; where that is "" each is of another.
    """

    index: int
    count: int
    profile: Profile
    user: str = ""

    def sessions(self) -> Iterator[SessionRequest]:
        """Its sessions as a hub would ask for them; their uids say which request they are of."""
        needs = replace(self.profile.requirements, tolerations=SESSION_TOLERATIONS)
        for number in range(self.count):
            yield SessionRequest(
                uid=f"{self.index:06d}/{number:06d}",
                user=self.user or f"{self.profile.slug}-{number + 1}",
                profile=self.profile.slug,
                resources=self.profile.resources,
                requirements=needs,
            )


def request_of(uid: str) -> int:
    """The index of the request that a session is of."""
    return int(uid.partition("/")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveNode:
    """A node that is there: its seat, and how many sessions of which profile it holds."""

    seat: Seat
    held: tuple[tuple[Profile, int], ...] = ()


def split(data: object) -> dict[str, object]:
    """The parts of one file by name: a mapping has several, a list is its requests.

    Raises UserError for a name that means nothing here.
    """
    if not isinstance(data, Mapping):
        return {"requests": data}
    for key in data:
        if key not in PARTS:
            raise UserError(f"{quote(key)}: {suggest(key, PARTS)}", reason="BadPlanFile")
    return dict(data)


def read_requests(data: object) -> tuple[Request, ...]:
    """What is asked for, in the order of the file. Raises UserError."""
    problems: list[str] = []
    found = _unique(list(_requests(rows(data, "requests", problems))), problems)
    if not problems and not found:
        problems.append("requests: must have at least one entry.")
    if sum(request.count for request in found) > MAX_SESSIONS:
        problems.append(f"requests: ask for more than {MAX_SESSIONS} sessions together.")
    complain(problems)
    return tuple(found)


def _requests(found: Sequence[Section]) -> Iterator[Request]:
    for index, at in enumerate(found):
        yield _request(at, index, f"request-{index + 1}")


def _request(at: Section, index: int, name: str) -> Request:
    at.only(REQUEST["properties"])
    # Whoever plans offline asks what it costs; which capacity types exist is the catalogue's word.
    own = {"slug": name, "capacity": CapacityPolicy.SPOT_THEN_ON_DEMAND.value}
    own |= {key: value for key, value in at.body.items() if key in REQUEST["properties"]}
    for key in ("count", "user"):
        own.pop(key, None)
    profile = read_profile(Section(at.path, own, at.problems))
    return Request(
        index=index,
        count=at.get("count", _read_count, 1),
        profile=profile,
        user=at.get("user", _read_user, ""),
    )


def _read_user(value: object) -> str:
    text = read_text(value, most=MAX_USER)
    if not text:
        raise bad("must not be empty.")
    return text


def _read_count(value: object) -> int:
    return read_whole(value, least=1, most=MAX_COUNT)


def _unique(found: list[Request], problems: list[str]) -> list[Request]:
    first: dict[str, int] = {}
    for request in found:
        slug, index = request.profile.slug, request.index
        if slug and first.setdefault(slug, index) != index:
            problems.append(
                f"requests[{index}].slug: {quote(slug)} is that of requests[{first[slug]}]."
            )
    return found


# --- nodes that are there --------------------------------------------------------------------


def read_nodes(data: object, types: Mapping[str, InstanceType]) -> tuple[LiveNode, ...]:
    """Nodes that run or are on their way, of types of the catalogue. Raises UserError."""
    problems: list[str] = []
    found: dict[str, LiveNode] = {}
    for at in rows(data, "nodes", problems):
        node = _Node(at, types).read()
        if node is not None and node.seat.place in found:
            at.note("name", f"{quote(node.seat.place)} is there twice.")
        elif node is not None:
            found[node.seat.place] = node
    complain(problems)
    return tuple(found.values())


class _Node:
    """One entry of a file of nodes."""

    def __init__(self, at: Section, types: Mapping[str, InstanceType]) -> None:
        self.at, self.types = at, types

    def read(self) -> LiveNode | None:
        """The node, or None when something about it is noted."""
        before = len(self.at.problems)
        self.at.only(NODE["properties"])
        self.at.needs("name", "type", "zone")
        name = self.at.get("name", read_name, "")
        kind = self.at.get("type", self._kind, None)
        if kind is None or not name:
            return None
        sold = self._sold(kind)
        held = tuple(self._held())
        seat = self._seat(name, kind, sold, [(each.profile, each.count) for each in held])
        if len(self.at.problems) > before:
            return None
        there = tuple(session for each in held for session in each.sessions())
        counts = tuple((each.profile, each.count) for each in held)
        return LiveNode(seat=replace(seat, sessions=there), held=counts)

    def _kind(self, value: object) -> InstanceType | None:
        if not isinstance(value, str) or value not in self.types:
            raise UserError(no_such_type(value, self.types), reason="BadPlanFile")
        return self.types[value]

    def _sold(self, kind: InstanceType) -> Offering:
        zone = self.at.get("zone", read_zone, "")
        capacity = self.at.get("capacity_type", read_capacity_type, CapacityType.ON_DEMAND)
        asked = Offering(
            instance_type=kind.name, zone=zone, capacity_type=capacity, usd_per_hour_micro=0
        )
        now = next((o for o in kind.offerings if o.key == asked.key), asked)
        price = self.at.get("usd_per_hour", read_usd_per_hour, now.usd_per_hour_micro)
        if not price and "usd_per_hour" not in self.at.body:
            self.at.note("usd_per_hour", "is missing, and the catalogue has no such offering.")
        return replace(now, usd_per_hour_micro=price)

    def _held(self) -> Iterator[Request]:
        for index, at in enumerate(sections(self.at, "sessions")):
            yield _request(at, index, f"session-{index + 1}")

    def _seat(
        self,
        name: str,
        kind: InstanceType,
        sold: Offering,
        held: Sequence[tuple[Profile, int]],
    ) -> Seat:
        layout = self.at.get("layout", lambda value: _layout(value, kind), WHOLE)
        total = read_allocatable(self.at, room_of(kind, layout))
        room = total
        for profile, count in held:
            room = room - times(profile.resources, count)
        if not Resources().fits_in(room):
            self.at.note("sessions", "take more than the node has.")
        seat = seat_of(
            kind,
            sold,
            layout,
            place=name,
            ready=self.at.get("ready", read_flag, True),
            total=total,
            residual=room,
        )
        return replace(seat, node_name=name)


def _layout(value: object, kind: InstanceType) -> str:
    """A layout that nodes of that type can have. Raises UserError with the nearest."""
    known = [layout.name for layout in layouts_of(kind)]
    if not isinstance(value, str) or value not in known:
        raise UserError(
            f"{kind.name} has no layout {quote(value)}; {suggest(value, known)}",
            reason="BadPlanFile",
        )
    return value
