"""A believable AWS on loopback, in a process of its own: moto as the store, a market in front.

Started by tests (``AwsWorld``), by the demo, and by hand with
``python -m jupyter_gpu_jit.local.aws_world --port 4566 --seed 7``. Clients are unmodified: they
are given ``AwsWorld.env`` (endpoint, region, made-up credentials). What moto lacks is here:
pools that run dry, client tokens, quotas, delays, lag, throttling, notices, placement, prices.
What is believable and what is only assumed is in ``parameters.py`` and docs/aws-world.md.

Only ``store`` knows moto. One world serves one account; every answer of the
market follows from the seed, the parameters and the order of the calls.
"""

from .handle import AwsWorld, WorldControl

__all__ = ["AwsWorld", "WorldControl"]
