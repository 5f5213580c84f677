"""The spawn page: which profiles there are, what they are, what can be chosen in them.

Rendered by a jinja environment of our own with autoescape on: names and descriptions may come
from groups or files that users write. Prices and waits are filled in by the page's script.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader

from .. import __version__
from ..core.model import Profile
from ..core.options import Field, form_fields, usable_profiles
from ..core.quantity import GIB
from ..errors import UserError
from .refusals import BAD_OPTIONS, Refusal

if TYPE_CHECKING:
    from .spawner import GpuJitSpawner

LINK_SENTENCE = "A link cannot start a server; look at the choice below and press Start."


def check_options(spawner: GpuJitSpawner, user_options: Mapping[str, object]) -> None:
    """Raise Refusal, a 400, for bad options, before any hook of an admin sees them.

    Those that arrive here are saved ones: a profile may have gone since. They are forgotten, or
    a start without options would fail ever after.
    """
    try:
        spawner.resolved(user_options)
    except Refusal:
        spawner.orm_spawner.user_options = {}
        spawner.user_options = {}
        raise


def render(spawner: GpuJitSpawner) -> str:
    """The form's HTML for the user of this spawner."""
    try:
        profiles = usable_profiles(spawner.offered_profiles(), spawner.group_names)
    except UserError as error:
        raise Refusal(BAD_OPTIONS, error.user_message) from error
    chosen = _preselected(spawner, profiles)
    return render_profiles(profiles, chosen, urls=_urls(spawner))


def render_profiles(
    profiles: tuple[Profile, ...], chosen: Mapping[str, str], *, urls: Mapping[str, str]
) -> str:
    """Pure part of ``render``: cards of the profiles with ``chosen`` filled in."""
    template = _environment().get_template("gpu_jit_form.html")
    slugs = [p.slug for p in profiles]
    selected = chosen.get("profile", "")
    return template.render(
        cards=[_card(p, chosen if p.slug == selected else {}) for p in profiles],
        selected=selected if selected in slugs else next(iter(slugs), ""),
        urls=urls,
    )


@cache
def _environment() -> Environment:
    loader = PackageLoader("jupyter_gpu_jit.hub", "templates")
    return Environment(loader=loader, autoescape=True)


def template_folder() -> str:
    """Where our page templates are, for ``c.JupyterHub.template_paths``."""
    return str(importlib.resources.files("jupyter_gpu_jit.hub") / "templates")


def static_folder() -> str:
    """Where our scripts and styles are."""
    return str(importlib.resources.files("jupyter_gpu_jit.hub") / "static")


def _urls(spawner: GpuJitSpawner) -> dict[str, str]:
    base = spawner.hub.base_url
    return {
        "script": f"{base}gpu-jit/static/spawn.js?v={__version__}",
        "style": f"{base}gpu-jit/static/gpu_jit.css?v={__version__}",
        "quotes": f"{base}api/gpu-jit/quotes",
        "user": spawner.user.name,
    }


def _preselected(spawner: GpuJitSpawner, profiles: tuple[Profile, ...]) -> dict[str, str]:
    """What a link asks for, else what was chosen last time, as far as both still make sense."""
    known = {p.slug for p in profiles}
    handler = getattr(spawner, "handler", None)
    asked: dict[str, str] = {}
    for name, values in (handler.request.query_arguments if handler else {}).items():
        asked[name.removeprefix("opt-")] = values[-1].decode("utf-8", "replace")
    saved = spawner.user_options or spawner.orm_spawner.user_options or {}
    for options in (asked, saved):
        if isinstance(options, Mapping) and str(options.get("profile")) in known:
            return {str(name): str(value) for name, value in options.items()}
    return {}


def _card(profile: Profile, chosen: Mapping[str, str]) -> dict[str, Any]:
    return {
        "slug": profile.slug,
        "name": profile.display_name or profile.slug,
        "description": profile.description,
        "facts": _facts(profile),
        "fields": [_with_value(field, chosen) for field in form_fields(profile)],
    }


def _with_value(field: Field, chosen: Mapping[str, str]) -> dict[str, Any]:
    value = chosen.get(field.name, field.default)
    if field.kind == "select" and value not in [option for option, _ in field.options]:
        value = field.default
    return {"field": field, "value": value}


def _facts(profile: Profile) -> list[str]:
    """What a profile is, in a few words each."""
    return [*_gpu_facts(profile), *_size_facts(profile), *_market_facts(profile)]


def _gpu_facts(profile: Profile) -> list[str]:
    if not profile.gpus:
        return ["no GPU"]
    model = " or ".join(profile.gpu_models) or "any GPU"
    if profile.gpu_share:
        return [f"part of {model} with at least {profile.gpu_share.memory_gib} GB"]
    memory = f", at least {profile.gpu_memory_gib} GB each" if profile.gpu_memory_gib else ""
    return [f"{profile.gpus} × {model}{memory}"]


def _size_facts(profile: Profile) -> list[str]:
    memory = profile.memory_guarantee_bytes / GIB
    return [f"{profile.cpu_guarantee_millicpu / 1000:g} CPU", f"{memory:g} GiB memory"]


def _market_facts(profile: Profile) -> list[str]:
    words = {"spot": "Spot", "spot-then-on-demand": "Spot, else on demand"}
    found = [words.get(profile.capacity.value, "on demand")]
    if profile.zones:
        found.append(" or ".join(profile.zones))
    if profile.max_seconds:
        found.append(f"at most {profile.max_seconds / 3600:g} h")
    return found
