"""The EC2 actions that the world answers itself; all others are moto's. Installed by ``server``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from . import describe, launch, placement, spot_prices
from .errors import AwsError

if TYPE_CHECKING:
    from .store import Handler, Json
    from .world import World

Act = Callable[["World", str, "Json"], "Json"]


def terminate_instances(world: World, region: str, params: Json) -> Json:
    """All or none, as AWS: one unknown id refuses the list."""
    ids = params.get("InstanceIds") or ()
    if not ids:
        raise AwsError("MissingParameter", "The request must contain the parameter InstanceId")
    lives = world.instances.find(ids)
    before = {life.id: life.state for life in lives}
    world.instances.terminate(lives)
    return {
        "TerminatingInstances": [
            {
                "InstanceId": life.id,
                "CurrentState": describe.state(life.state),
                "PreviousState": describe.state(before[life.id]),
            }
            for life in lives
        ]
    }


ACTIONS: dict[str, Act] = {
    "create_fleet": launch.create_fleet,
    "run_instances": launch.run_instances,
    "terminate_instances": terminate_instances,
    "describe_instances": describe.instances,
    "describe_instance_status": describe.statuses,
    "describe_spot_price_history": spot_prices.history,
    **placement.ACTIONS,
}


def bound(world: World) -> dict[str, Handler]:
    """The actions of that world."""
    return {name: partial(act, world) for name, act in ACTIONS.items()}
