"""A hub's ``c.KubeSpawner.profile_list`` as it stands: asked, adopted, put on pods.

The pure part is core/carried.py. Here functions are called, a copy of the spawner takes the
settings of a profile (never the spawner itself: they would stay for the next start), and what
cannot be carried is logged once. Called by spawner.py, traits.py, config.py and the command line.
"""

from __future__ import annotations

import copy
import inspect
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jupyterhub.spawner import Spawner
from kubespawner import KubeSpawner
from slugify import slugify
from traitlets import TraitError
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from ..core.carried import Adopted, adopt
from ..core.model import Profile
from ..core.overrides import POD, Settings, merged
from ..errors import UserError
from .refusals import BAD_OPTIONS, Refusal

if TYPE_CHECKING:
    from .spawner import GpuJitSpawner

log = logging.getLogger(__name__)

FRESH_SECONDS = 2.0
BROKEN = "The profiles of this hub cannot be read now; its log says why to an administrator."
WINS = "c.KubeSpawner.profile_list is not used: GpuJitSpawner.profiles or profiles_file is set."
ASKED_PER_USER = "profile_list is a function: it is asked for each user, so it is checked then."

_BASE = (
    *("cpu_guarantee", "cpu_limit", "mem_guarantee", "mem_limit"),
    *("extra_resource_limits", "extra_resource_guarantees"),
    *("node_selector", "node_affinity_required"),
    *("pod_affinity_required", "pod_anti_affinity_required"),
)


class Known:
    """What one spawner knows of its user's ``profile_list``, and since when."""

    def __init__(self) -> None:
        self.adopted: Adopted | None = None
        self.at = 0.0


async def learn(spawner: GpuJitSpawner, *, again: bool = False) -> None:
    """Ask and adopt the list, unless that was a moment ago. Raises Refusal, a 400."""
    known = spawner.known_profiles
    if spawner.has_own_profiles or not spawner.profile_list:
        known.adopted = None
        return
    if not again and known.adopted and time.monotonic() - known.at < FRESH_SECONDS:
        return
    try:
        known.adopted = adopted(spawner, await _asked(spawner))
    except Exception as error:  # an admin's function may raise anything
        log.exception("profile_list not read", extra={"reason": str(error)})
        raise Refusal(BAD_OPTIONS, BROKEN) from error
    known.at = time.monotonic()


async def _asked(spawner: GpuJitSpawner) -> Any:
    """The list for this user, with the functions in it called."""
    items = spawner.profile_list
    if callable(items):
        items = await _value(items, spawner)
    return await _called(items, spawner)


async def _called(item: Any, spawner: GpuJitSpawner) -> Any:
    """The same with the value of each function that is a value of a ``kubespawner_override``."""
    if isinstance(item, (list, tuple)):
        return [await _called(inner, spawner) for inner in item]
    if not isinstance(item, Mapping):
        return item
    return {
        key: await _override(inner, spawner)
        if key == "kubespawner_override" and isinstance(inner, Mapping)
        else await _called(inner, spawner)
        for key, inner in item.items()
    }


async def _override(override: Mapping[str, Any], spawner: GpuJitSpawner) -> Settings:
    return {
        name: await _value(value, spawner) if callable(value) else value
        for name, value in override.items()
    }


async def _value(function: Any, spawner: GpuJitSpawner) -> Any:
    value = function(spawner)
    return await value if inspect.isawaitable(value) else value


def adopted(spawner: GpuJitSpawner, items: object) -> Adopted:
    """What the list offers on top of the hub-wide settings. Raises UserError."""
    return adopt(
        items,
        {name: getattr(spawner, name) for name in _BASE},
        slugify=slugify,
        known=frozenset(KubeSpawner.class_traits(config=True)),
        capacity=spawner.profile_list_capacity,
    )


def for_pod(spawner: GpuJitSpawner, slug: str) -> GpuJitSpawner:
    """Whoever builds the pod of this profile. Raises Refusal, a 400."""
    known = spawner.known_profiles.adopted
    try:
        return on_copy(spawner, known.pods[slug]) if known else spawner
    except UserError as error:
        log.exception("profile cannot be used", extra={"reason": error.user_message})
        raise Refusal(BAD_OPTIONS, BROKEN) from error


def on_copy(spawner: GpuJitSpawner, overrides: Iterable[Settings]) -> GpuJitSpawner:
    """The spawner, or a copy of it with these settings of the pod. Raises UserError."""
    todo = [(name, value) for row in overrides for name, value in row.items() if name in POD]
    if not todo:
        return spawner
    twin = copy.copy(spawner)
    for name, value in todo:
        # Merged into a copy of the mapping: the original's would be changed for good.
        new = merged({name: getattr(twin, name)}, {name: value})[name]
        try:
            setattr(twin, name, new)
        except TraitError as error:
            raise UserError(f"{name}: {error}", reason="BadProfileList") from error
    return twin


# --- when the hub starts ---------------------------------------------------------------------


def check(spawner_class: type[GpuJitSpawner], config: Any) -> tuple[list[str], Adopted]:
    """Sentences on what is not carried, and what is offered; needs no cluster and no user.

    Raises TraitError for a setting that no start could use.
    """
    probe = spawner_class.__new__(spawner_class)
    Spawner.__init__(probe, config=config)  # without KubeSpawner's, which asks for a cluster
    if not probe.profile_list:
        return [], Adopted()
    if probe.has_own_profiles:
        return [WINS], Adopted()
    if callable(probe.profile_list):
        return [ASKED_PER_USER], Adopted()
    try:
        found = adopted(probe, probe.profile_list)
        for overrides in found.pods.values():
            on_copy(probe, overrides)
    except UserError as error:
        raise TraitError(f"KubeSpawner.profile_list: {error.user_message}") from error
    return list(found.said), found


def check_at_start(app: Any) -> None:
    """Log what is not carried. Raises TraitError, which ends the hub with its sentence."""
    from .spawner import GpuJitSpawner

    if issubclass(app.spawner_class, GpuJitSpawner):
        said, found = check(app.spawner_class, app.config)
        if found.profiles:
            names = ", ".join(profile.slug for profile in found.profiles)
            app.log.info("profile_list adopted: %s", names)
        for line in said:
            app.log.warning("profile_list: %s", line)


# --- on the command line ---------------------------------------------------------------------


def check_file(file: Path) -> tuple[list[str], tuple[Profile, ...]]:
    """``check`` for a jupyterhub_config.py, or for a list as JSON or YAML. Raises UserError."""
    from .spawner import GpuJitSpawner

    try:
        config = _configuration(file) if file.suffix == ".py" else _listed(file)
        said, found = check(GpuJitSpawner, config)
    except TraitError as error:
        raise UserError(f"{file}: {error}", reason="BadProfileList") from error
    if not (said or found.profiles):
        raise UserError(f"{file} has no profile_list.", reason="BadProfileList")
    return said, found.profiles


def _configuration(file: Path) -> Config:
    """What a configuration of a hub says; it is run, as the hub would."""
    try:
        read: Config = PyFileConfigLoader(file.name, path=str(file.parent)).load_config()
    except Exception as error:  # it is a program
        raise UserError(f"{file} fails: {type(error).__name__}: {error}") from error
    return read


def _listed(file: Path) -> Config:
    """A list alone, or in ``profile_list``, or where Zero to JupyterHub's values have it."""
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file} cannot be read as YAML: {error}") from error
    config = Config()
    config.KubeSpawner.profile_list = _list_in(data)
    return config


def _list_in(data: Any) -> Any:
    """The list itself, whatever it lies in."""
    keys = ("jupyterhub", "singleuser", "profileList", "profile_list")
    for key in keys if isinstance(data, Mapping) else ():
        if key in data:
            return _list_in(data[key])
    return data
