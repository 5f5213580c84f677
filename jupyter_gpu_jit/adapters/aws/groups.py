"""Placement groups: made when a launch wants one, used again, removed when nobody is in them.

Used by ec2.py and housekeeping.py. Ours carry the cluster's tags and when they were made.
"""

from __future__ import annotations

from ...core.quantity import format_time
from ...errors import Rejected
from ...ports import PlacementGroup
from .calls import AwsCalls, Json
from .templates import tag_list

CREATED_TAG = "gpu-jit.io/created-at"
_EXISTS = "InvalidPlacementGroup.Duplicate"
IN_USE = "InvalidPlacementGroup.InUse"


class Groups:
    """The placement groups that exist, as far as we know."""

    def __init__(self, calls: AwsCalls) -> None:
        self._calls = calls
        self._there: set[str] = set()
        self.used_at: dict[str, float] = {}

    async def ensure(self, group: PlacementGroup) -> None:
        """Make it unless it is there. Raises Rejected, Unavailable."""
        self.used_at[group.name] = self._calls.clock.now()
        if group.name not in self._there:
            await self._make(group)
            self._there.add(group.name)

    def forget(self, name: str) -> None:
        """It was removed, or somebody says that it is not there."""
        self._there.discard(name)

    async def _make(self, group: PlacementGroup) -> None:
        tags = dict(self._calls.settings.standing_tags)
        tags[CREATED_TAG] = format_time(self._calls.clock.now())
        parameters: Json = {
            "GroupName": group.name,
            "Strategy": group.strategy,
            "TagSpecifications": [{"ResourceType": "placement-group", "Tags": tag_list(tags)}],
        }
        if group.strategy == "partition":
            parameters["PartitionCount"] = max(1, group.partitions)
        try:
            await self._calls.ask("ec2", "CreatePlacementGroup", parameters)
        except Rejected as error:
            if error.reason != _EXISTS:
                raise
