"""GPU models: their names, and the memory they are sold with.

A card reports less than it is sold as (a 24 GB L4 reports 22888 MiB, which is 24 * 10**9
bytes), so profiles speak of nominal memory and the planner compares nominal with nominal.
Names are those of the catalogue. Used by profiles.py and the planner.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import UserError
from .texts import quote, suggest

# Nominal GiB per GPU, smallest first. Sizes are what the maker calls the card; B200 and B300
# are counted like the others (183359 MiB and 275040 MiB are 192 and 288 * 10**9 bytes), though
# some sellers name the part of it that is usable (180, 268).
MODELS: dict[str, tuple[int, ...]] = {
    "T4": (16,),
    "T4g": (16,),
    "V100": (16, 32),
    "L4": (24,),
    "A10G": (24,),
    "RTX PRO 4500": (32,),
    "A100": (40, 80),
    "L40S": (48,),
    "H100": (80,),
    "RTX PRO Server 6000": (96,),
    "H200": (141,),
    "B200": (192,),
    "B300": (288,),
}

# CUDA compute capability in tenths (89 is 8.9). Source: NVIDIA, "CUDA GPU Compute Capability"
# (developer.nvidia.com/cuda-gpus).
_COMPUTE_TENTHS: dict[str, int] = {
    "T4": 75,
    "T4g": 75,
    "V100": 70,
    "L4": 89,
    "A10G": 86,
    "RTX PRO 4500": 120,
    "A100": 80,
    "L40S": 89,
    "H100": 90,
    "RTX PRO Server 6000": 120,
    "H200": 90,
    "B200": 100,
    "B300": 103,
}

_ALIASES = {
    "a10": "A10G",
    "rtxpro6000": "RTX PRO Server 6000",
    "rtxpro6000blackwell": "RTX PRO Server 6000",
    "rtxpro6000blackwellserveredition": "RTX PRO Server 6000",
    "rtxpro4500blackwellserveredition": "RTX PRO 4500",
    "rtxpro4500blackwell": "RTX PRO 4500",
}
_BRAND = re.compile(r"^(nvidia|tesla|geforce)+")
_WITH_SIZE = re.compile(r"(.+?)[\s_-]+[0-9]+ ?gi?b?", re.IGNORECASE)
# Reported over nominal runs from 0.90 (ECC and firmware kept back) to 1.0; a little air above.
_LEAST_SHARE, _MOST_SHARE = 0.90, 1.02
_MIB_PER_GB = 10**9 / 2**20


def _folded(name: str) -> str:
    return _BRAND.sub("", re.sub(r"[\s_-]+", "", name).lower())


_BY_FOLDED = {**{_folded(name): name for name in MODELS}, **_ALIASES}


def model_named(name: str) -> str:
    """The catalogue's name of a model written in any usual way (``nvidia-l4``, ``Tesla T4``).

    Raises UserError naming the nearest model when there is none of that name.
    """
    found = _BY_FOLDED.get(_folded(name[:64]))
    if found is None:
        raise UserError(f"{quote(name)} is no GPU model; {_meant(name)}", reason="UnknownGpuModel")
    return found


def _meant(name: str) -> str:
    """The nearest model; a memory size in the name belongs beside it."""
    sized = _WITH_SIZE.fullmatch(name[:64])
    base = _BY_FOLDED.get(_folded(sized[1])) if sized else None
    return f'did you mean "{base}", with memory_gib beside it?' if base else suggest(name, MODELS)


def nominal_memory_gib(model: str, reported_mib: int) -> int:
    """Memory a card is sold with, in GiB, from what it reports in MiB.

    A fraction of a card (an eighth of an L4 reports 2861 MiB) and a model not listed give their
    own size rounded to whole GiB or GB, whichever is nearer.
    """
    for nominal in MODELS.get(model, ()):
        if _LEAST_SHARE <= reported_mib / (nominal * 1024) <= _MOST_SHARE:
            return nominal
    sizes: list[float] = [reported_mib / 1024, reported_mib / _MIB_PER_GB]
    best: float = max(sizes, key=_how_whole)
    return round(best)


def _how_whole(size: float) -> float:
    """0.5 for a whole number, 0 for one halfway between two."""
    return abs(size % 1 - 0.5)


def compute_capability_tenths(model: str) -> int:
    """CUDA compute capability of a model, in tenths; 0 for one we do not know."""
    return _COMPUTE_TENTHS.get(model, 0)


def most_compute_tenths(models: Sequence[str] = ()) -> int:
    """The highest compute capability among these models, in tenths; of all when none is named."""
    return max(_COMPUTE_TENTHS[name] for name in models or MODELS)


def most_memory_gib(models: Sequence[str] = ()) -> int:
    """The largest nominal memory of one GPU among these models; of all when none is named."""
    return max(MODELS[name][-1] for name in models or MODELS)
