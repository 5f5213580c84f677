"""``ports.Notices`` over an SQS queue that EventBridge rules fill (hub_config/aws/).

A message is deleted when everything it says was acted on, or when it says nothing to us; one that
cannot be read stays, so that the queue's own rule moves it to the dead-letter queue. Several
receivers may wait at once.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...errors import NotFound, Rejected
from ...ports import Notice
from .calls import LONG_POLL_SECONDS, AwsCalls
from .events import Unreadable, notices_of, read_event
from .settings import AwsSettings

log = logging.getLogger(__name__)
MOST_AT_ONCE = 10
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
        wait_seconds: int = LONG_POLL_SECONDS,
    ) -> None:
        self._calls = calls
        self._dropped = dropped or (lambda reason: None)
        self._wait_seconds = wait_seconds
        self._url = calls.settings.queue if "/" in calls.settings.queue else ""
        self._ready: deque[Notice] = deque()
        self._open: dict[str, int] = {}

    async def receive(self) -> Sequence[Notice]:
        """See ports.Notices. Raises Rejected, Unavailable."""
        if not self._ready:
            for message in await self._messages():
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

    async def _messages(self) -> list[dict[str, Any]]:
        answer = await self._ask(
            "ReceiveMessage",
            MaxNumberOfMessages=MOST_AT_ONCE,
            WaitTimeSeconds=self._wait_seconds,
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
        left = list(dict.fromkeys(receipts))
        while left:
            some, left = left[:MOST_AT_ONCE], left[MOST_AT_ONCE:]
            rows = [{"Id": str(n), "ReceiptHandle": receipt} for n, receipt in enumerate(some)]
            answer = await self._ask("DeleteMessageBatch", Entries=rows)
            # What was not deleted comes again and is acted on again, which is harmless.
            if failed := answer.get("Failed"):
                log.info("messages not deleted", extra={"count": len(failed)})

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
