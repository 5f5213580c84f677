"""What AWS says of an instance unasked, through EventBridge to SQS. Called by ``world``.

Bodies have the documented members and the exact detail-types. ``Delivery`` makes messages come
twice, late and out of order, as EventBridge and SQS may.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from . import store
from .instances import SPOT, Life
from .parameters import ACCOUNT

if TYPE_CHECKING:
    from .world import World

Json = dict[str, Any]
INTERRUPTION = "EC2 Spot Instance Interruption Warning"
REBALANCE = "EC2 Instance Rebalance Recommendation"
STATE_CHANGE = "EC2 Instance State-change Notification"
HEALTH = "AWS Health Event"
RESERVATION = "EC2 Capacity Reservation Instance Interruption Warning"
RULES = {
    "gpu-jit-interruption": f'{{"source":["aws.ec2"],"detail-type":["{INTERRUPTION}"]}}',
    "gpu-jit-rebalance": f'{{"source":["aws.ec2"],"detail-type":["{REBALANCE}"]}}',
    "gpu-jit-state-change": f'{{"source":["aws.ec2"],"detail-type":["{STATE_CHANGE}"]}}',
    "gpu-jit-health": f'{{"source":["aws.health"],"detail-type":["{HEALTH}"]}}',
    "gpu-jit-reservation": f'{{"source":["aws.ec2"],"detail-type":["{RESERVATION}"]}}',
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """``copies`` of each message, each after 0 to ``late_seconds``: so also out of order."""

    copies: int = 1
    late_seconds: float = 0.0
    dropped_share: float = 0.0


def stamp(moment: float) -> str:
    """A moment as events and APIs write it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def say(world: World, life: Life, detail_type: str, detail: Json, source: str = "aws.ec2") -> None:
    """Send an event about an instance, as ``world.delivery`` says."""
    event = {
        "version": "0",
        "id": world.new_id("event"),
        "detail-type": detail_type,
        "source": source,
        "account": ACCOUNT,
        "time": "",
        "region": life.region,
        "resources": [f"arn:aws:ec2:{life.region}:{ACCOUNT}:instance/{life.id}"],
        "detail": detail,
    }
    world.log("event", {"detail_type": detail_type, "instance": life.id, "detail": detail})
    rng = world.rng(f"delivery {event['id']}")
    delivery = world.delivery
    for _ in range(delivery.copies):
        if rng.random() >= delivery.dropped_share:
            late = rng.uniform(0.0, delivery.late_seconds)
            _deliver(world, event, world.now(), late)


def _deliver(world: World, event: Json, said_at: float, late_seconds: float) -> None:
    def send() -> None:
        store.publish(event["region"], event, said_at)

    if late_seconds <= 0:
        send()
    else:
        world.timeline.after(late_seconds, send)


def interrupt(
    world: World, life: Life, seconds: float | None = None, detail_type: str = INTERRUPTION
) -> None:
    """The interruption notice now, the end at the deadline."""
    if not life.live or life.interrupted_at is not None:
        return
    life.interrupted_at = world.now()
    detail = {"instance-id": life.id, "instance-action": "terminate"}
    say(world, life, detail_type, detail)
    left = world.parameters.notice_seconds if seconds is None else seconds
    world.timeline.after(left, lambda: world.instances.terminate([life], SPOT))


def rebalance(world: World, life: Life) -> None:
    """A rebalance recommendation; nothing else follows from it."""
    if life.live:
        say(world, life, REBALANCE, {"instance-id": life.id})


def state_change(world: World, life: Life, state: str = "") -> None:
    """The notification of the present state, or of ``state`` whatever is true."""
    say(world, life, STATE_CHANGE, {"instance-id": life.id, "state": state or life.state})


def health(world: World, life: Life, code: str, starts_in_seconds: float) -> None:
    """A scheduled change, as AWS Health tells it."""
    life.scheduled = world.now() + starts_in_seconds
    detail = {
        "eventArn": f"arn:aws:health:{life.region}::event/EC2/{code}/{life.id}",
        "service": "EC2",
        "eventTypeCode": code,
        "eventTypeCategory": "scheduledChange",
        "startTime": stamp(world.now() + starts_in_seconds),
        "eventDescription": [{"language": "en_US", "latestDescription": "The host is degraded."}],
        "affectedEntities": [{"entityValue": life.id}],
    }
    say(world, life, HEALTH, detail, source="aws.health")
