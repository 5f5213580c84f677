"""KubeSpawner that starts gated sessions. Thin: each override hands over to a module of its own.

Options are resolved in one function, ``resolved``, wherever they come from; nothing they say is
ever set on the spawner itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

from kubernetes_asyncio.client.models import V1Pod
from kubespawner import KubeSpawner
from traitlets import default

from ..core.model import Profile
from ..core.options import Resolved, from_form, resolve
from ..errors import UserError
from . import facts, form, manifest, profile_list, progress, waiting
from .reflector import SessionReflector
from .refusals import BAD_OPTIONS, Refusal
from .traits import GpuJitTraits


class GpuJitSpawner(GpuJitTraits, KubeSpawner):
    """Starts a session as a pod that waits for its planned node, and tells how far it is.

    Everything configured for ``c.KubeSpawner`` holds, ``profile_list`` as in profile_list.py.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.begun = waiting.Begun()
        self.known_profiles = profile_list.Known()
        super().__init__(*args, **kwargs)

    # --- options -----------------------------------------------------------------------------

    @property
    def group_names(self) -> frozenset[str]:
        """Names of the groups the user is in now."""
        return frozenset(group.name for group in getattr(self.user, "groups", ()))

    async def learn_profiles(self, *, again: bool = False) -> None:
        """Ask for the ``profile_list`` of this user; before ``resolved``. Raises Refusal."""
        await profile_list.learn(self, again=again)

    @property
    def adopted_profiles(self) -> tuple[Profile, ...]:
        """Profiles of this user's ``profile_list``, as last learned."""
        known = self.known_profiles.adopted
        return known.profiles if known else ()

    def resolved(self, user_options: Mapping[str, object] | None = None) -> Resolved:
        """The profile for these options (None: those of this start). Raises Refusal, a 400."""
        options = self.user_options if user_options is None else user_options
        known = self.known_profiles.adopted
        try:
            options = known.options(options) if known else options
            return resolve(self.offered_profiles(), options, groups=self.group_names)
        except UserError as error:
            raise Refusal(BAD_OPTIONS, error.user_message) from error

    async def _run_apply_user_options(self, user_options: Mapping[str, object]) -> None:
        await self.learn_profiles()
        form.check_options(self, user_options)
        await super()._run_apply_user_options(user_options)

    @default("apply_user_options")
    def _apply_user_options_default(self) -> Any:
        return lambda spawner, user_options: None

    async def load_user_options(self) -> None:
        """Check the options again at the last moment; profiles may have changed since."""
        await self.learn_profiles(again=True)
        self.resolved()

    @default("options_form")
    def _options_form_default(self) -> Any:
        return self._render_form

    @staticmethod
    async def _render_form(spawner: GpuJitSpawner) -> str:
        await spawner.learn_profiles()
        return form.render(spawner)

    @default("options_from_form")
    def _options_from_form_default(self) -> Any:
        return self._choices_in_form

    async def _choices_in_form(self, formdata: Mapping[str, list[str]]) -> dict[str, Any]:
        await self.learn_profiles()
        try:
            choices = from_form(formdata)
        except UserError as error:
            raise Refusal(BAD_OPTIONS, error.user_message) from error
        return dict(self.resolved(choices).user_options)

    def options_from_query(self, query_data: Mapping[str, list[str]]) -> dict[str, Any]:
        """A link never starts anything: it only preselects. Always raises Refusal."""
        raise Refusal(BAD_OPTIONS, form.LINK_SENTENCE)

    # --- the pod -----------------------------------------------------------------------------

    async def get_pod_manifest(self) -> V1Pod:
        """KubeSpawner's pod, gated and sized by the profile."""
        profile = self.resolved().profile
        request = manifest.session_request(profile, user=self.user.name, server=self.name)
        twin = profile_list.for_pod(self, profile.slug)
        pod = await super(GpuJitSpawner, twin).get_pod_manifest()
        return manifest.complete(pod, profile, request)

    def get_env(self) -> dict[str, str]:
        """Environment of the server, with where to find the service."""
        env: dict[str, str] = super().get_env()
        if self.service_api_url:
            env.setdefault("GPU_JIT_API_URL", self.service_api_url)
        return env

    # --- start, poll, stop -------------------------------------------------------------------

    async def _start(self) -> str:
        return await waiting.start(self, super()._start)

    async def _make_create_pod_request(self, pod: V1Pod, request_timeout: float) -> bool:
        upstream = partial(super()._make_create_pod_request, pod, request_timeout)
        return await waiting.create(self, pod, upstream)

    async def _start_watching_pods(self, replace: bool = False) -> Any:
        replace = replace or waiting.has_given_up(self.pod_reflector)
        return await self._start_reflector(
            kind="pods",
            reflector_class=SessionReflector,
            labels={"component": self.component_label},
            omit_namespace=self.enable_user_namespaces,
            replace=replace,
        )

    def is_pod_running(self, pod: Any) -> bool:
        """Whether the server in the pod can be asked."""
        return facts.is_running(pod)

    async def poll(self) -> int | None:
        """None while the server runs or may come to run, else an exit status."""
        return await waiting.poll(self, super().poll)

    async def stop(self, now: bool = False) -> None:
        """Delete the pod and wait until it is gone."""
        await waiting.stop(self, partial(super().stop, now))

    async def get_url(self) -> str:
        """Where the server is: in its pod, if that runs, whatever the hub's database says."""
        pod = waiting.pod_of(self)
        return str(self._get_pod_url(pod) if facts.is_running(pod) else await super().get_url())

    def cancel_start(self) -> None:
        """End a start that waits, with the sentence that it was cancelled."""
        waiting.cancel(self)

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Progress events of a start (see progress.py)."""
        async for event in progress.events(self):
            yield event
