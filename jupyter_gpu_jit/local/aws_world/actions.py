"""The EC2 actions that the world answers itself; all others are moto's. Installed by ``server``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from . import describe, launch, placement, spot_prices, views
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
                "CurrentState": views.state(life.state),
                "PreviousState": views.state(before[life.id]),
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


def known_instances(world: World, region: str, params: Json) -> None:
    """Tags cannot be put on an instance before it can be seen. Raises AwsError."""
    del region
    world.instances.find([i for i in params.get("Resources") or () if i.startswith("i-")])


def refuse_stopping(world: World, region: str, params: Json) -> None:
    """The world's instances run or end. Raises AwsError."""
    del world, region, params
    raise AwsError("UnsupportedOperation", "This world does not stop and start instances.")


CHECKS: dict[str, Callable[[World, str, Json], None]] = {
    "create_tags": known_instances,
    "delete_tags": known_instances,
    "stop_instances": refuse_stopping,
    "start_instances": refuse_stopping,
}


def checks(world: World) -> dict[str, Callable[[str, Json], None]]:
    """What is looked at before moto answers, in that world."""
    return {name: partial(check, world) for name, check in CHECKS.items()}


def bound(world: World) -> dict[str, Handler]:
    """The actions of that world."""
    return {name: partial(act, world) for name, act in ACTIONS.items()}
