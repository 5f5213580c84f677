"""``ports.Notices`` over an SQS queue that EventBridge rules fill (hub_config/aws/).

A message is deleted when everything it says was acted on, or when it says nothing to us; one that
cannot be read stays, so that the queue's own rule moves it to the dead-letter queue. Several
receivers may wait at once.

SQS hands messages to a long poll whose client is gone (https://github.com/aws/aws-sdk-js/issues/2350)
and then nobody sees them until they are shown again. So polls are short, messages are hidden for
no longer than acting on them takes, and what a poll brings that nobody waits for is given back.
A leader that dies is followed after its lease, by when all its polls are over and shown again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...errors import GpuJitError, NotFound, Rejected
from ...ports import Notice
from .calls import AwsCalls
from .events import Unreadable, notices_of, read_event
from .settings import AwsSettings

log = logging.getLogger(__name__)
MOST_AT_ONCE = 10
HIDDEN_SECONDS = 10
"""With the wait of a poll not more than the provisioner's lease of 15 s."""
_READ_ATTRIBUTES = ["SentTimestamp"]
Dropped = Callable[[str], None]
"""Called with why a message came to nothing: unknown (not for us) or unreadable."""


class SqsNotices:
    """The queue named in the settings (a name or a URL)."""

    def __init__(
        self,
        calls: AwsCalls,
        *,
        dropped: Dropped | None = None,
        hidden_seconds: int = HIDDEN_SECONDS,
    ) -> None:
        self._calls = calls
        self._dropped = dropped or (lambda reason: None)
        self._hidden_seconds = hidden_seconds
        self._url = calls.settings.queue if "/" in calls.settings.queue else ""
        self._ready: deque[Notice] = deque()
        self._open: dict[str, int] = {}
        self._abandoned: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Wait for the polls that are still open, and give back what they bring."""
        ready, self._ready = self._ready, deque()
        await self._give_back([notice.receipt for notice in ready])
        await asyncio.gather(*self._abandoned)

    async def receive(self) -> Sequence[Notice]:
        """See ports.Notices. Raises Rejected, Unavailable."""
        if not self._ready:
            for message in await self._poll():
                await self._take(message)
        count = min(MOST_AT_ONCE, len(self._ready))
        return tuple(self._ready.popleft() for _ in range(count))

    async def settle(self, notices: Sequence[Notice]) -> None:
        """See ports.Notices. Raises Rejected, Unavailable."""
        await self._delete([n.receipt for n in notices if self._is_last(n.receipt)])

    def _is_last(self, receipt: str) -> bool:
        """Whether everything that a message says is settled now; most say one thing only."""
        left = self._open.pop(receipt, 1) - 1
        if left > 0:
            self._open[receipt] = left
        return left <= 0

    async def _poll(self) -> list[dict[str, Any]]:
        """What a poll brings. Cancelled, it goes on: SQS cannot be told that nobody waits."""
        poll = asyncio.create_task(self._messages(), name="poll")
        try:
            return await asyncio.shield(poll)
        except asyncio.CancelledError:
            rest = asyncio.create_task(self._abandon(poll), name="abandoned poll")
            self._abandoned.add(rest)
            rest.add_done_callback(self._abandoned.discard)
            raise

    async def _abandon(self, poll: asyncio.Task[list[dict[str, Any]]]) -> None:
        with contextlib.suppress(GpuJitError):
            await self._give_back([str(message["ReceiptHandle"]) for message in await poll])

    async def _give_back(self, receipts: Sequence[str]) -> None:
        """Show messages again at once, to whoever asks next."""
        try:
            await self._each("ChangeMessageVisibilityBatch", receipts, VisibilityTimeout=0)
        except GpuJitError as error:
            log.warning("messages not given back", extra={"reason": error.user_message})

    async def _messages(self) -> list[dict[str, Any]]:
        answer = await self._ask(
            "ReceiveMessage",
            MaxNumberOfMessages=MOST_AT_ONCE,
            WaitTimeSeconds=self._calls.settings.notice_wait_seconds,
            VisibilityTimeout=self._hidden_seconds,
            MessageSystemAttributeNames=_READ_ATTRIBUTES,
        )
        found: list[dict[str, Any]] = answer.get("Messages") or []
        return found

    async def _take(self, message: dict[str, Any]) -> None:
        receipt = str(message["ReceiptHandle"])
        try:
            event = read_event(str(message.get("Body", "")), self._sent_at(message))
            notices = notices_of(event, receipt)
        except Unreadable as error:
            log.warning("a message of the queue is no event", extra={"reason": str(error)[:100]})
            self._dropped("unreadable")
            return
        if not notices:
            self._dropped("unknown")
            await self._delete([receipt])
        elif len(notices) > 1:
            self._open[receipt] = len(notices)
        self._ready.extend(notices)

    def _sent_at(self, message: dict[str, Any]) -> float:
        said = (message.get("Attributes") or {}).get("SentTimestamp")
        return int(said) / 1000 if said else self._calls.clock.now()

    async def _delete(self, receipts: Iterable[str]) -> None:
        await self._each("DeleteMessageBatch", receipts)

    async def _each(self, action: str, receipts: Iterable[str], **more: Any) -> None:
        left = list(dict.fromkeys(receipts))
        while left:
            some, left = left[:MOST_AT_ONCE], left[MOST_AT_ONCE:]
            rows = [{"Id": str(n), "ReceiptHandle": one, **more} for n, one in enumerate(some)]
            answer = await self._ask(action, Entries=rows)
            # What was not done comes again by itself and is acted on again, which is harmless.
            if failed := answer.get("Failed"):
                log.info("messages left", extra={"action": action, "count": len(failed)})

    async def _ask(self, action: str, **parameters: Any) -> dict[str, Any]:
        url = self._url or await self._find()
        try:
            return await self._calls.call("sqs", action, QueueUrl=url, **parameters)
        except NotFound as error:
            raise no_queue(self._calls.settings) from error

    async def _find(self) -> str:
        name = self._calls.settings.queue
        try:
            answer = await self._calls.call("sqs", "GetQueueUrl", QueueName=name)
        except NotFound as error:
            raise no_queue(self._calls.settings) from error
        self._url = str(answer["QueueUrl"])
        return self._url


def no_queue(settings: AwsSettings) -> Rejected:
    """The queue that the settings name is not there."""
    return Rejected(
        f"There is no queue {settings.queue} in {settings.region}: create the stack of "
        "hub_config/aws/provisioner.yaml, or name the queue that you made.",
        reason="NoQueue",
    )
