"""What a provisioner deals with besides its cluster. Made by ``aws`` and ``single``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..core.quotas import Limits
from ..errors import UserError
from ..ports import Cloud, Meter, Notices
from .shared import needs_extra

if TYPE_CHECKING:
    from ..adapters.meter import PrometheusMeter


@dataclass(frozen=True, slots=True)
class Outside:
    """The cloud, what it says without being asked, where metrics go, and the account's quotas."""

    cloud: Cloud
    notices: Notices | None = None
    meter: Meter | None = None
    quotas: Limits = field(default_factory=dict)


@contextlib.contextmanager
def metrics_served(address: str, port: int | None) -> Iterator[PrometheusMeter | None]:
    """A meter that is served meanwhile; None without a port. Raises UserError."""
    if port is None:
        yield None
        return
    needs_extra("prometheus_client", "provisioner")
    from ..adapters.meter import PrometheusMeter
    from ..provisioner import metrics

    meter = PrometheusMeter(metrics.ALL, other=metrics.OTHER)
    server = meter.serve(address, port)
    try:
        yield meter
    finally:
        server.shutdown()
        server.server_close()


def no_such_file(path: object, error: Exception) -> UserError:
    """A file that an option names cannot be read."""
    return UserError(f"{path} cannot be read: {error}.")
