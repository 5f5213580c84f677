"""Settings of the spawner: what an admin may write under ``c.GpuJitSpawner``.

Only traits live here; they become frozen core types at once (``ProfileSource``), and nothing
in them is changed by what a user chooses.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from traitlets import Dict, Enum, Int, List, TraitError, Unicode, default, validate
from traitlets.config import Configurable

from ..core.model import Profile
from ..core.options import parse_profiles
from ..core.requirements import CapacityPolicy
from ..errors import UserError

log = logging.getLogger(__name__)

MAX_PROFILE_FILE_BYTES = 1 << 20


def read_profile_file(path: Path) -> tuple[Profile, ...]:
    """The profiles in a YAML file: a list, or a mapping with a key ``profiles``.

    Raises UserError naming the file and what is wrong in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {error}") from error
    try:
        return parse_profiles(data)
    except UserError as error:
        raise UserError(f"{path}: {error.user_message}", reason=error.reason) from error


class ProfileFile:
    """Profiles of a file, read again when it changes; a broken change keeps the last good ones."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[tuple[int, int], tuple[Profile, ...]]] = {}

    def read(self, name: str) -> tuple[Profile, ...]:
        """The profiles of now. Raises UserError when the file was never good."""
        path = Path(name)
        stamp = self._stamp(path)
        known = self._seen.get(name)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            profiles = read_profile_file(path)
        except UserError as error:
            if known is None:
                raise
            log.error("profiles not read again", extra={"reason": error.user_message})
            profiles = known[1]
        self._seen[name] = (stamp, profiles)
        return profiles

    @staticmethod
    def _stamp(path: Path) -> tuple[int, int]:
        try:
            status = path.stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_size)


_FILE = ProfileFile()


class GpuJitTraits(Configurable):
    """Configuration of GpuJitSpawner beyond KubeSpawner's own."""

    profiles = List(
        Dict(),
        help="""What users may pick, as a list of dictionaries; the first one they may use is what
        a start without options gives. See the example profiles for the keys.
        Alternatives are ``profiles_file`` and KubeSpawner's ``profile_list``.""",
    ).tag(config=True)

    profiles_file = Unicode(
        "",
        help="""Path of a YAML file with the profiles (a list, or a mapping with ``profiles``).
        It is read again when it changes, without a restart of the hub; a change that cannot be
        read is logged, and the profiles before it stay. Used when ``profiles`` is empty.""",
    ).tag(config=True)

    profile_list_capacity = Enum(
        [policy.value for policy in CapacityPolicy],
        default_value=CapacityPolicy.ON_DEMAND.value,
        help="""How instances are bought for profiles of ``c.KubeSpawner.profile_list``, which
        says nothing about it: ``on-demand``, ``spot`` or ``spot-then-on-demand``. A node selector
        for a capacity type in such a profile wins.""",
    ).tag(config=True)

    service_api_url = Unicode(
        "",
        help="""URL of the service's API as a notebook server reaches it, such as
        ``http://proxy-public/services/gpu-jit/api/v1/``; given to each server as
        GPU_JIT_API_URL. Empty: not given.""",
    ).tag(config=True)

    quotes_url = Unicode(
        "",
        help="""URL at which the hub asks the service for prices and waits of profiles; empty
        shows "price unknown". Default: the environment's GPU_JIT_QUOTES_URL.""",
    ).tag(config=True)

    quotes_token = Unicode(
        "",
        help="""Token the hub shows the service when it asks for quotes.
        Default: the environment's GPU_JIT_QUOTES_TOKEN.""",
    ).tag(config=True)

    start_deadline_seconds = Int(
        1800,
        help="""Seconds after which a start that still waits ends with a sentence. Must be well
        below ``start_timeout`` (seconds), at which the hub itself ends it with a bare error.""",
    ).tag(config=True)

    @default("quotes_url")
    def _quotes_url_default(self) -> str:
        return os.environ.get("GPU_JIT_QUOTES_URL", "")

    @default("quotes_token")
    def _quotes_token_default(self) -> str:
        return os.environ.get("GPU_JIT_QUOTES_TOKEN", "")

    @validate("profiles")
    def _valid_profiles(self, proposal: Any) -> list[dict[str, Any]]:
        try:
            if proposal["value"]:
                parse_profiles(proposal["value"])
        except UserError as error:
            raise TraitError(f"GpuJitSpawner.profiles: {error.user_message}") from error
        found: list[dict[str, Any]] = proposal["value"]
        return found

    @validate("profiles_file")
    def _valid_profiles_file(self, proposal: Any) -> str:
        name = str(proposal["value"])
        try:
            if name:
                _FILE.read(name)
        except UserError as error:
            raise TraitError(f"GpuJitSpawner.profiles_file: {error.user_message}") from error
        return name

    @validate("service_api_url", "quotes_url")
    def _valid_url(self, proposal: Any) -> str:
        url = str(proposal["value"])
        if url and urlsplit(url).scheme not in ("http", "https"):
            name = proposal["trait"].name
            raise TraitError(f"GpuJitSpawner.{name}: {url!r} is not an http or https URL.")
        return url

    @validate("start_deadline_seconds")
    def _valid_deadline(self, proposal: Any) -> int:
        seconds = int(proposal["value"])
        if seconds < 1:
            raise TraitError("GpuJitSpawner.start_deadline_seconds must be at least 1 second.")
        return seconds

    @property
    def has_own_profiles(self) -> bool:
        """Whether ``profile_list`` is out of use."""
        return bool(self.profiles or self.profiles_file)

    @property
    def adopted_profiles(self) -> tuple[Profile, ...]:
        """Profiles made of KubeSpawner's ``profile_list``, where there is one."""
        return ()

    def offered_profiles(self) -> tuple[Profile, ...]:
        """All profiles of this hub, for whatever group. Raises UserError when there are none."""
        if self.profiles:
            return parse_profiles(self.profiles)
        if self.profiles_file:
            return _FILE.read(self.profiles_file)
        if self.adopted_profiles:
            return self.adopted_profiles
        raise UserError(
            "This hub has no profiles; an administrator must set GpuJitSpawner.profiles.",
            reason="NoProfiles",
        )
