"""Waiting for a session's pod: from its creation until the server can be asked, or a refusal.

KubeSpawner makes the pod; this module races it to the end of its wait. It knows what upstream's
does not: that a pod was deleted, that it is to be created again, that the start was cancelled or
refused, that our own deadline is over. Called by spawner.py, for starts and after hub restarts.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

import aiohttp
from kubernetes_asyncio.client.exceptions import ApiException

from ..core.progress import History, Stage, duration
from ..core.wire import SESSION_ANNOTATION
from . import facts, manifest
from .redaction import MOST_CHARACTERS, shortened
from .reflector import BOARD, Json, SessionReflector
from .refusals import CANCELLED, NOT_STARTED, REFUSED, Refusal

if TYPE_CHECKING:
    from .spawner import GpuJitSpawner

LOOK_AGAIN_SECONDS = 2.0
UNSEEN_SECONDS = 5.0
PROVISIONER_GRACE_SECONDS = 30.0
CLIENT_ERROR, NOT_FOUND, CONFLICT, SERVER_ERROR = 400, 404, 409, 500
NO_ANSWER = (aiohttp.ClientError, asyncio.TimeoutError)


class Outcome(Enum):
    """How a wait ended when it did not end in a Refusal."""

    READY = "ready"
    AGAIN = "again"


@dataclass(slots=True)
class Begun:
    """What a spawner knows of the start it is in; a hub restart forgets it all.

    ``uid`` is the pod's, once known; ``creating`` a request on its way, which outlives a cancelled
    start so that the pod it makes is found and deleted.
    """

    asked_at: float = 0.0
    uid: str = ""
    uid_since: float = 0.0
    failed_since: float = 0.0
    last: Json | None = None
    creating: asyncio.Future[bool] | None = None
    cancelled: bool = False
    resuming: bool = False
    history: History = field(default_factory=History)

    def expect(self, uid: str) -> None:
        """A pod of this uid is the one to wait for."""
        self.uid, self.uid_since, self.failed_since, self.last = uid, time.time(), 0.0, None
        self.history = History({} if self.resuming else {Stage.REQUESTED: self.uid_since})

    @property
    def unseen(self) -> bool:
        """Whether a pod may exist that the reflector has not shown yet."""
        if self.creating is not None and not self.creating.done():
            return True
        return bool(self.uid) and self.last is None and BOARD.departure(self.uid) is None


def key_of(spawner: GpuJitSpawner) -> str:
    """namespace/name of the spawner's pod, as the reflector names it."""
    return f"{spawner.namespace}/{spawner.pod_name}"


def pod_of(spawner: GpuJitSpawner) -> Json | None:
    """The spawner's pod as last seen; None while there is none."""
    reflector = spawner.pod_reflector
    found: Json | None = reflector.pods.get(key_of(spawner)) if reflector else None
    return found


# --- a start ---------------------------------------------------------------------------------


async def start(spawner: GpuJitSpawner, upstream: Callable[[], Awaitable[str]]) -> str:
    """The URL of the server. Raises Refusal with a sentence.

    A pod that is deleted to be created again is, within this same start.
    """
    spawner.begun = Begun(asked_at=time.time(), cancelled=spawner.begun.cancelled)
    while True:
        url = await _attempt(spawner, upstream)
        if url is not None:
            return url
        spawner.log.info("Pod %s is created again", key_of(spawner))


async def _attempt(spawner: GpuJitSpawner, upstream: Callable[[], Awaitable[str]]) -> str | None:
    """The URL, or None when the pod is to be created again."""
    making = asyncio.ensure_future(_made(upstream))
    watching = asyncio.ensure_future(watch(spawner))
    try:
        await asyncio.wait({making, watching}, return_when=asyncio.FIRST_COMPLETED)
        if making.done():
            return making.result()
        if watching.result() is Outcome.AGAIN:
            return None
        return await _url(spawner, making)
    finally:
        await _end(making, watching)


async def _made(upstream: Callable[[], Awaitable[str]]) -> str:
    try:
        return await upstream()
    except ApiException as error:
        raise _explained(error) from error
    except NO_ANSWER as error:
        raise Refusal(NOT_STARTED, "The Kubernetes API did not answer in time.") from error


def _explained(error: ApiException) -> Refusal:
    """An answer of the API server as a sentence."""
    status = error.status or 0
    if not CLIENT_ERROR <= status < SERVER_ERROR:
        return Refusal(NOT_STARTED, "The Kubernetes API has trouble; try again in a minute.")
    return Refusal(NOT_STARTED, f"The cluster refused the pod: {_message(error)}")


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body or "")["message"])[:MOST_CHARACTERS]
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"


async def _url(spawner: GpuJitSpawner, making: asyncio.Future[str]) -> str:
    """The URL of a pod that runs; upstream may still have services or hooks to finish."""
    if spawner.internal_ssl or spawner.services_enabled or spawner.after_pod_created_hook:
        return await making
    pod = pod_of(spawner)
    if pod is None:
        return await making
    spawner.pod_id = pod["metadata"]["uid"]
    return str(spawner._get_pod_url(pod))


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# --- creation --------------------------------------------------------------------------------


async def create(spawner: GpuJitSpawner, pod: Any, upstream: Callable[[], Awaitable[bool]]) -> bool:
    """Create the pod, or adopt the one that is there with the very same request.

    False asks upstream to try again. The request goes on when the start is cancelled meanwhile:
    what it makes must be found by ``stop``.
    """
    begun = spawner.begun
    begun.creating = asyncio.ensure_future(_create(spawner, pod, upstream))
    try:
        return await asyncio.shield(begun.creating)
    except NO_ANSWER:
        return False
    except ApiException as error:
        if (error.status or SERVER_ERROR) >= SERVER_ERROR:
            return False
        raise


async def _create(
    spawner: GpuJitSpawner, pod: Any, upstream: Callable[[], Awaitable[bool]]
) -> bool:
    here = await read(spawner)
    if here is not None and _is_ours(here, pod.metadata.annotations or {}):
        # The hub learns the token the server was given from the spawner, and keeps that one.
        spawner.api_token = facts.environment(here, "JUPYTERHUB_API_TOKEN") or spawner.api_token
    elif await upstream():
        here = await read(spawner)
    else:
        return False
    if here is not None:
        spawner.begun.expect(here["metadata"]["uid"])
    return here is not None


def _is_ours(pod: Json, annotations: dict[str, str]) -> bool:
    leaving = "deletionTimestamp" in pod["metadata"]
    over = facts.phase(pod) in ("Succeeded", "Failed")
    same = facts.session_text(pod) == annotations.get(SESSION_ANNOTATION, "-")
    return same and not leaving and not over


async def read(spawner: GpuJitSpawner) -> Json | None:
    """The pod as the API server has it now."""
    answer = await spawner.api.read_namespaced_pod(
        name=spawner.pod_name,
        namespace=spawner.namespace,
        _preload_content=False,
        _request_timeout=spawner.k8s_api_request_timeout,
    )
    body = await answer.read()
    if answer.status == NOT_FOUND:
        return None
    if answer.status >= CLIENT_ERROR:
        raise ApiException(status=answer.status, reason=answer.reason)
    found: Json = json.loads(body)
    return found


# --- the wait --------------------------------------------------------------------------------


async def watch(spawner: GpuJitSpawner) -> Outcome:
    """Wait until the pod runs or is to be created again. Raises Refusal.

    An API server that does not answer is waited for like everything else.
    """
    while True:
        try:
            outcome = await _look(spawner)
            if outcome is not None:
                return outcome
            await BOARD.changed(key_of(spawner), timeout_seconds=LOOK_AGAIN_SECONDS)
            if spawner.pod_reflector is not None:
                await spawner._start_watching_pods()
        except (ApiException, *NO_ANSWER) as error:
            said = shortened(str(error))
            spawner.log.warning("The Kubernetes API does not answer: %s", said)
            await asyncio.sleep(LOOK_AGAIN_SECONDS)


def has_given_up(reflector: SessionReflector | None) -> bool:
    """Whether a reflector was started and watches no more: upstream's ends after some errors."""
    return reflector is not None and reflector.first_load_future.done() and not reflector.alive


async def _look(spawner: GpuJitSpawner) -> Outcome | None:
    begun, now = spawner.begun, time.time()
    pod = pod_of(spawner)
    if pod is not None and pod["metadata"]["uid"] == begun.uid:
        begun.last = pod
        begun.history = begun.history.note(facts.status_of(pod), facts.facts_of(pod), now)
        if facts.is_running(pod):
            return Outcome.READY
        _check_pod(begun, pod, now)
    elif begun.uid and await _is_gone(spawner, now):
        return _after_departure(begun)
    _check_patience(spawner, now)
    return None


async def _is_gone(spawner: GpuJitSpawner, now: float) -> bool:
    """Whether the expected pod has left; asks the API server when the reflector never showed it."""
    begun = spawner.begun
    if BOARD.departure(begun.uid) is not None or begun.last is not None:
        return True
    if now - begun.uid_since < UNSEEN_SECONDS:
        return False
    here = await read(spawner)
    return here is None or here["metadata"]["uid"] != begun.uid


def _after_departure(begun: Begun) -> Outcome:
    departure = BOARD.departure(begun.uid)
    # Left between two lists, perhaps with the wish unseen: the benefit of the doubt.
    if departure is None or not departure.watched or facts.wants_again(departure.pod):
        begun.uid = ""
        return Outcome.AGAIN
    raise Refusal(NOT_STARTED, "The session's pod was deleted while it waited; start it again.")


def _check_pod(begun: Begun, pod: Json, now: float) -> None:
    """Raise Refusal when this pod will never run."""
    if "deletionTimestamp" in pod["metadata"]:
        return
    status = facts.status_of(pod)
    if status is not None and status.stage == Stage.REFUSED:
        raise Refusal(REFUSED, status.message or "This start was refused by the planner.")
    if status is not None and status.stage == Stage.FAILED:
        raise Refusal(NOT_STARTED, status.message or "This start failed.")
    ended = facts.why_ended(pod)
    if ended and not facts.wants_again(pod):
        raise Refusal(NOT_STARTED, ended)
    if facts.phase(pod) in ("Failed", "Succeeded"):
        begun.failed_since = begun.failed_since or now
        if now - begun.failed_since > PROVISIONER_GRACE_SECONDS:
            raise Refusal(NOT_STARTED, "The node refused the session's pod; start it again.")


def _check_patience(spawner: GpuJitSpawner, now: float) -> None:
    begun = spawner.begun
    if begun.cancelled:
        raise Refusal(CANCELLED, "The start was cancelled.")
    patience = spawner.start_deadline_seconds
    if now - begun.asked_at > patience:
        status = facts.status_of(begun.last)
        reason = f" Last heard: {status.message}" if status and status.message else ""
        raise Refusal(
            NOT_STARTED,
            f"The session could not start within {duration(patience)}. Nothing is left running; "
            f"try again later or choose another profile.{reason}",
        )


def cancel(spawner: GpuJitSpawner) -> None:
    """Ask the wait of this spawner to end; it does within milliseconds."""
    spawner.begun.cancelled = True
    BOARD.wake(key_of(spawner))


async def until_over(spawner: GpuJitSpawner, *, timeout_seconds: float) -> None:
    """Return when the start of this spawner has ended and its pod is gone, or after the timeout."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    while spawner.active and loop.time() < deadline:
        future = spawner._spawn_future
        if future is not None and not future.done():
            await asyncio.wait([future], timeout=deadline - loop.time())
        await asyncio.sleep(0.05)


# --- polls, stops and hub restarts -----------------------------------------------------------


async def poll(spawner: GpuJitSpawner, upstream: Callable[[], Awaitable[int | None]]) -> int | None:
    """None while the server runs or may come to run, else an exit status.

    While a restarted hub checks what is there, this waits for a pod that is still pending: the
    hub would otherwise ask its URL for a few seconds and then delete it.
    """
    if spawner._check_pending and not spawner.begun.resuming:
        return await resume(spawner, upstream)
    if spawner.begun.unseen:
        return None
    return await upstream()


async def resume(
    spawner: GpuJitSpawner, upstream: Callable[[], Awaitable[int | None]]
) -> int | None:
    """Go on waiting for the pod of a start that the hub's restart interrupted."""
    await spawner._start_watching_pods()
    pod = pod_of(spawner)
    if pod is None or facts.is_running(pod) or not facts.session_text(pod):
        return await upstream()
    spawner.begun = Begun(asked_at=facts.created_at(pod), resuming=True)
    spawner.begun.expect(pod["metadata"]["uid"])
    try:
        while await watch(spawner) is Outcome.AGAIN:
            await _create_again(spawner, pod)
    except Refusal as refusal:
        spawner.log.warning("%s: %s", spawner._log_name, refusal.jupyterhub_message)
        return 1
    finally:
        spawner.begun.resuming = False
    return await upstream()


async def _create_again(spawner: GpuJitSpawner, pod: Json) -> None:
    try:
        await spawner.api.create_namespaced_pod(spawner.namespace, manifest.again(pod))
    except ApiException as error:
        if error.status != CONFLICT:
            raise _explained(error) from error
    here = await read(spawner)
    if here is not None:
        spawner.begun.expect(here["metadata"]["uid"])


async def stop(spawner: GpuJitSpawner, upstream: Callable[[], Awaitable[None]]) -> None:
    """Delete the pod and return when it is gone, rather than at upstream's next look."""
    creating = spawner.begun.creating
    # Upstream's creation itself stops a pod of ours that is in its way, and goes on.
    goes_on = creating is not None and creating is asyncio.current_task()
    if creating is not None and not goes_on and not creating.done():
        await asyncio.wait([creating], timeout=spawner.k8s_api_request_timeout * 2)
    deleting = asyncio.ensure_future(upstream())
    leaving = asyncio.ensure_future(_gone(spawner))
    try:
        await asyncio.wait({deleting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if deleting.done():
            deleting.result()
    finally:
        await _end(deleting, leaving)
        if not goes_on:
            spawner.begun = Begun()


async def _gone(spawner: GpuJitSpawner) -> None:
    """Return when a pod that was there has left; never when none was."""
    pod = pod_of(spawner)
    while pod is not None:
        await BOARD.changed(key_of(spawner), timeout_seconds=LOOK_AGAIN_SECONDS)
        pod = pod_of(spawner)
        if pod is None:
            return
    await asyncio.Event().wait()
