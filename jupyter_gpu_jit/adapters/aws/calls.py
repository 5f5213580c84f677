"""The one way to AWS: boto3 in threads, paced, retried, with a deadline and errors that are ours.

Everything else of this package asks through ``AwsCalls``. Actions go by AWS's own names
("DescribeInstances"), as in IAM policies and metrics.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import boto3.session
import botocore.session
from botocore import xform_name
from botocore.config import Config

from ...errors import Unavailable
from ...ports import Clock
from .errors import THROTTLED, error_of
from .pace import CREDENTIALS, Pace
from .settings import AwsSettings
from .threads import Threads

Json = dict[str, Any]
Told = Callable[[str, str], None]
"""Called with an action and how an attempt ended: ok, throttled, refused or failed."""

ATTEMPTS = 9
"""Per call, with adaptive pacing: three lose 15 % of a burst of fleets, eight lose none."""
_READ_SECONDS = 30
# For the calls that botocore makes by itself: credentials. It asks again with our next call.
_ONCE = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=10)
# Pricing is not in every region; it tells of all.
REGION_OF = {"pricing": "us-east-1"}


class _Unsigned(Exception):
    """There were no credentials for a call, and ``why``."""

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


class AwsCalls:
    """Clients of one account and region; ``told`` hears of each attempt, from any thread."""

    def __init__(self, settings: AwsSettings, clock: Clock, told: Told | None = None) -> None:
        self.settings = settings
        self.clock = clock
        self.pace = Pace(clock)
        self._told = told or (lambda action, ending: None)
        self._threads = Threads(settings.threads)
        core = botocore.session.get_session()
        core.set_default_client_config(_ONCE)
        self._session = boto3.session.Session(botocore_session=core, region_name=settings.region)
        self._clients: dict[str, Any] = {}
        self._making = threading.Lock()

    async def call(self, service: str, action: str, /, **parameters: Any) -> Json:
        """One call, tried several times. Raises Unavailable, NotFound or Rejected."""
        return await self.ask(service, action, parameters)

    async def ask(self, service: str, action: str, parameters: Json) -> Json:
        """The same with the parameters as a mapping."""
        await self.pace.before(service, action)
        try:
            async with asyncio.timeout(self.settings.call_seconds):
                answer = await self._threads.run(lambda: self._call(service, action, parameters))
        except TimeoutError as error:
            self.pace.failed(service)
            raise Unavailable(f"AWS did not answer {service}:{action} in time.") from error
        except _Unsigned as error:
            ours = error_of(error.why, service, action)
            self._note(CREDENTIALS, ours)
            raise ours from error.why
        except Exception as error:
            ours = error_of(error, service, action)
            self.pace.answered(CREDENTIALS)
            self._note(service, ours)
            raise ours from error
        self.pace.answered(service)
        return answer

    async def pages(self, service: str, action: str, key: str, /, **parameters: Any) -> list[Json]:
        """All of ``key`` over all pages."""
        found: list[Json] = []
        async for page in self.each_page(service, action, **parameters):
            found += page.get(key) or ()
        return found

    async def each_page(
        self, service: str, action: str, /, **parameters: Any
    ) -> AsyncIterator[Json]:
        """Page by page; each is a call of its own and waits for its turn."""
        token = ""
        while True:
            more = {"NextToken": token} if token else {}
            page = await self.ask(service, action, {**parameters, **more})
            yield page
            token = page.get("NextToken") or ""
            if not token:
                return

    def regions(self) -> list[str]:
        """The regions that boto3 knows."""
        found: list[str] = self._session.get_available_regions("ec2")
        return found

    def _note(self, service: str, error: Exception) -> None:
        if isinstance(error, Unavailable) and error.reason != "Throttled":
            self.pace.failed(service)
        else:
            self.pace.answered(service)

    def _call(self, service: str, action: str, parameters: Json) -> Json:
        self._sign_in()
        answer: Json = getattr(self._client(service), xform_name(action))(**parameters)
        return answer

    def _sign_in(self) -> None:
        """Have credentials renewed where they are old, apart from what they are for."""
        try:
            with self._making:
                held = self._session.get_credentials()
            if held is not None:
                held.get_frozen_credentials()
        except Exception as error:
            raise _Unsigned(error) from error

    def _client(self, service: str) -> Any:
        with self._making:
            if service not in self._clients:
                self._clients[service] = self._make(service)
            return self._clients[service]

    def _make(self, service: str) -> Any:
        config = Config(
            retries={"mode": "adaptive", "total_max_attempts": ATTEMPTS},
            connect_timeout=5,
            read_timeout=_READ_SECONDS,
            max_pool_connections=self.settings.threads,
        )
        client = self._session.client(
            service,
            region_name=REGION_OF.get(service, self.settings.region),
            endpoint_url=self.settings.endpoint_url or None,
            config=config,
        )
        client.meta.events.register("response-received", self._hear)
        return client

    def _hear(
        self,
        event_name: str,
        parsed_response: Json | None = None,
        exception: Exception | None = None,
        **_: Any,
    ) -> None:
        """An attempt ended; called by botocore in the thread of the call."""
        self._told(event_name.rpartition(".")[2], _ending(parsed_response, exception))


def _ending(answer: Json | None, error: Exception | None) -> str:
    if error is not None or answer is None:
        return "failed"
    code = (answer.get("Error") or {}).get("Code")
    if code in THROTTLED:
        return "throttled"
    status = int((answer.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0)
    if status >= 500:
        return "failed"
    return "refused" if code else "ok"
