"""From an EventBridge envelope to notices. Pure; called by sqs.py.

Detail types and keys are those of the EC2 and AWS Health user guides. Only ``detail-type`` and
what names the instance must be there; a stand-in may lack the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ...ports import Notice, NoticeKind

Json = dict[str, Any]
SPOT = "EC2 Spot Instance Interruption Warning"
REBALANCE = "EC2 Instance Rebalance Recommendation"
STATE = "EC2 Instance State-change Notification"
HEALTH = "AWS Health Event"
RESERVATION = "EC2 Capacity Reservation Instance Interruption Warning"
NOTICE_SECONDS = 120.0
"""From an interruption notice to the end of the instance."""
_ENDED = ("stopping", "stopped", "shutting-down", "terminated")
_SCHEDULED = "scheduledChange"


class Unreadable(ValueError):
    """The message is no event: it stays in the queue, which moves it aside after some tries."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as far as it matters. ``kind`` is its detail type, "" when it has none."""

    kind: str
    said_at: float
    detail: Mapping[str, Any]


def read_event(text: str, sent_at: float) -> Event:
    """The event in a message; ``sent_at`` (epoch seconds) counts where it has no time.

    Raises Unreadable.
    """
    try:
        body = json.loads(text)
    except ValueError as error:
        raise Unreadable(str(error)) from error
    if not isinstance(body, dict):
        raise Unreadable("not an object")
    detail = body.get("detail")
    return Event(
        kind=str(body.get("detail-type") or ""),
        said_at=_time(body.get("time")) or sent_at,
        detail=detail if isinstance(detail, dict) else {},
    )


def notices_of(event: Event, receipt: str) -> tuple[Notice, ...]:
    """What it says of instances; nothing for kinds and states that do not concern us.

    Raises Unreadable when it is of a kind that we know and yet names no instance.
    """
    read = _READERS.get(event.kind)
    return tuple(read(event, receipt)) if read else ()


def _interruption(event: Event, receipt: str) -> Iterator[Notice]:
    deadline = event.said_at + NOTICE_SECONDS
    yield _notice(NoticeKind.INTERRUPTION, event, receipt, deadline=deadline)


def _rebalance(event: Event, receipt: str) -> Iterator[Notice]:
    yield _notice(NoticeKind.REBALANCE, event, receipt)


def _state(event: Event, receipt: str) -> Iterator[Notice]:
    if event.detail.get("state") in _ENDED:
        yield _notice(NoticeKind.ENDED, event, receipt)


def _health(event: Event, receipt: str) -> Iterator[Notice]:
    """One for each instance that a scheduled change of EC2 touches."""
    detail = event.detail
    if detail.get("eventTypeCategory") != _SCHEDULED or detail.get("service", "EC2") != "EC2":
        return
    begins = _time(detail.get("startTime"))
    for entity in detail.get("affectedEntities") or ():
        name = str(entity.get("entityValue", "")) if isinstance(entity, dict) else ""
        # An entity may be an ARN.
        instance_id = name.rpartition("/")[2]
        if instance_id.startswith("i-"):
            yield Notice(
                kind=NoticeKind.SCHEDULED,
                instance_id=instance_id,
                said_at=event.said_at,
                deadline=begins,
                receipt=receipt,
            )


def _notice(
    kind: NoticeKind, event: Event, receipt: str, *, deadline: float | None = None
) -> Notice:
    instance_id = event.detail.get("instance-id")
    if not isinstance(instance_id, str) or not instance_id:
        raise Unreadable(f"{event.kind} without instance-id")
    return Notice(
        kind=kind,
        instance_id=instance_id,
        said_at=event.said_at,
        deadline=deadline,
        receipt=receipt,
    )


_READERS: dict[str, Callable[[Event, str], Iterator[Notice]]] = {
    SPOT: _interruption,
    RESERVATION: _interruption,
    REBALANCE: _rebalance,
    STATE: _state,
    HEALTH: _health,
}


def _time(said: object) -> float | None:
    """Epoch seconds of an ISO time or, as AWS Health writes them, one of RFC 1123."""
    if not isinstance(said, str) or not said:
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = read(said)
        except (ValueError, TypeError):
            continue
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return None
