"""Messages of SQS's standard queues: receive, delete, hide again, dead letters. For ``front``.

moto keeps queues and takes messages in; it finds and deletes them by walking over all, which for
15,000 takes hours, and loses some when several receive at once. Visibility, delay and retention
count in world time, as all else does; only the wait of a long poll is real.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from . import store
from .call import Call
from .errors import AwsError

if TYPE_CHECKING:
    from .services import Own
    from .world import World

Json = dict[str, Any]
QueueKey = tuple[str, str]
"""(region, name)."""
MOST = 10
WAIT_SLICE_SECONDS = 0.5
"""A waiting receiver looks again so often, in case the queue went away."""


@dataclass(slots=True, eq=False)
class Message:
    """One message and all handles it was ever received under."""

    id: str
    body: str
    sent_at: float
    received: int = 0
    first_received_at: float = 0.0
    handles: list[str] = field(default_factory=list)
    hidden: bool = False
    deleted: bool = False


@dataclass(slots=True)
class _Queue:
    ready: deque[Message] = field(default_factory=deque)
    by_handle: dict[str, Message] = field(default_factory=dict)
    hidden: int = 0


class Queues:
    """All messages of a world; under the world's lock, which a long poll lets go."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._arrived = threading.Condition(world.timeline.lock)
        self._queues: dict[QueueKey, _Queue] = {}
        self._numbers = 0

    def reset(self) -> None:
        """Forget all messages."""
        with self._arrived:
            self._queues.clear()
            self._numbers = 0
            self._arrived.notify_all()

    def put(self, key: QueueKey, message_id: str, body: str, delay_seconds: float) -> None:
        """A message that moto has taken in."""
        with self._arrived:
            message = Message(message_id, body, self._world.now())
            if delay_seconds > 0:
                self._hide(key, message, delay_seconds)
            else:
                self._show(key, message)

    def counts(self, key: QueueKey) -> tuple[int, int]:
        """How many can be received, and how many are hidden."""
        queue = self._of(key)
        return len(queue.ready), queue.hidden

    def answer(self, call: Call) -> Own | None:
        """The answer of an action on messages; None leaves it to moto. Raises AwsError."""
        acts: dict[str, Callable[[QueueKey, Json], Json]] = {
            "ReceiveMessage": self._receive,
            "DeleteMessage": self._delete,
            "DeleteMessageBatch": partial(self._batch, self._delete),
            "ChangeMessageVisibility": self._change,
            "ChangeMessageVisibilityBatch": partial(self._batch, self._change),
            "PurgeQueue": self._purge,
        }
        key = (call.region, str(call.params.get("QueueUrl") or "").rpartition("/")[2])
        if call.service != "sqs" or call.action not in acts or store.queue(*key) is None:
            return None
        with self._arrived:
            return 200, acts[call.action](key, call.params)

    # --- actions -----------------------------------------------------------------------------

    def _receive(self, key: QueueKey, params: Json) -> Json:
        settings = store.queue(*key)
        most = int(params.get("MaxNumberOfMessages") or 1)
        if settings is None or not 1 <= most <= MOST:
            raise AwsError("InvalidParameterValue", f"Between 1 and {MOST} messages, not {most}.")
        wait = float(params.get("WaitTimeSeconds", settings.wait_seconds))
        self._wait(key, time.monotonic() + wait)
        hidden_for = float(params.get("VisibilityTimeout", settings.visibility_seconds))
        found = self._take(key, most, settings)
        rows = [self._hand_over(key, message, hidden_for) for message in found]
        return {"Messages": rows} if rows else {}

    def _wait(self, key: QueueKey, until: float) -> None:
        while not self._of(key).ready and store.queue(*key) is not None:
            left = until - time.monotonic()
            if left <= 0:
                return
            self._arrived.wait(min(left, WAIT_SLICE_SECONDS))

    def _take(self, key: QueueKey, most: int, settings: store.QueueSettings) -> list[Message]:
        queue, found = self._of(key), list[Message]()
        oldest = self._world.now() - settings.retention_seconds
        while queue.ready and len(found) < most:
            message = queue.ready.popleft()
            if message.deleted or message.sent_at < oldest:
                continue
            if settings.dead_letters and message.received >= settings.most_receives:
                self._show((key[0], settings.dead_letters), message)
            else:
                found.append(message)
        return found

    def _hand_over(self, key: QueueKey, message: Message, hidden_seconds: float) -> Json:
        now = self._world.now()
        message.received += 1
        message.first_received_at = message.first_received_at or now
        self._numbers += 1
        handle = f"{message.id}.{self._numbers}"
        message.handles.append(handle)
        self._of(key).by_handle[handle] = message
        self._hide(key, message, hidden_seconds)
        return {
            "MessageId": message.id,
            "ReceiptHandle": handle,
            "Body": message.body,
            "MD5OfBody": hashlib.md5(message.body.encode(), usedforsecurity=False).hexdigest(),
            "Attributes": {
                "SenderId": "AIDAWORLD",
                "SentTimestamp": str(round(message.sent_at * 1000)),
                "ApproximateReceiveCount": str(message.received),
                "ApproximateFirstReceiveTimestamp": str(round(message.first_received_at * 1000)),
            },
        }

    def _delete(self, key: QueueKey, params: Json) -> Json:
        message = self._by_handle(key, params)
        if message.hidden:
            message.hidden = False
            self._of(key).hidden -= 1
        message.deleted = True
        return {}

    def _change(self, key: QueueKey, params: Json) -> Json:
        message = self._by_handle(key, params)
        if message.hidden:
            message.hidden = False
            self._of(key).hidden -= 1
            # A handle of its own makes the earlier plan to show it void.
            message.handles.append(message.handles[-1])
            self._hide(key, message, float(params["VisibilityTimeout"]))
        return {}

    def _batch(self, act: Callable[[QueueKey, Json], Json], key: QueueKey, params: Json) -> Json:
        done, failed = [], []
        for entry in params.get("Entries") or ():
            try:
                act(key, entry)
                done.append({"Id": entry["Id"]})
            except AwsError as error:
                wrong = {"Code": error.code, "Message": error.message, "SenderFault": True}
                failed.append({"Id": entry["Id"], **wrong})
        return {"Successful": done, "Failed": failed}

    def _purge(self, key: QueueKey, params: Json) -> Json:
        del params
        self._queues.pop(key, None)
        return {}

    # --- inside ------------------------------------------------------------------------------

    def _of(self, key: QueueKey) -> _Queue:
        return self._queues.setdefault(key, _Queue())

    def _by_handle(self, key: QueueKey, params: Json) -> Message:
        found = self._of(key).by_handle.get(str(params.get("ReceiptHandle")))
        if found is None:
            raise AwsError("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
        return found

    def _show(self, key: QueueKey, message: Message) -> None:
        self._of(key).ready.append(message)
        self._arrived.notify_all()

    def _hide(self, key: QueueKey, message: Message, seconds: float) -> None:
        if seconds <= 0:
            self._show(key, message)
            return
        message.hidden = True
        self._of(key).hidden += 1
        times = len(message.handles)
        self._world.timeline.after(seconds, lambda: self._again(key, message, times))

    def _again(self, key: QueueKey, message: Message, times: int) -> None:
        """The time is over in which only the receiver of then saw it."""
        if message.hidden and len(message.handles) == times:
            message.hidden = False
            self._of(key).hidden -= 1
            self._show(key, message)
