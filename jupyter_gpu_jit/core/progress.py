"""The stages of a start: their order, and what the person waiting is told.

Used by the provisioner (which writes the record), the hub (which shows it) and the service.
"""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """Stages of a start in order, then the three that stand beside them."""

    REQUESTED = "Requested"
    PLANNED = "Planned"
    LAUNCHING = "Launching"
    BOOTING = "Booting"
    REGISTERED = "Registered"
    INITIALISED = "Initialised"
    PULLING = "Pulling"
    STARTING = "Starting"
    READY = "Ready"
    WAITING = "Waiting"
    REFUSED = "Refused"
    FAILED = "Failed"


ORDER = tuple(Stage)[: tuple(Stage).index(Stage.READY) + 1]
