"""How long things take in the simulated world: stated, seeded, heavy-tailed.

A model is a handful of delays with a median each, so that a page or a test can say what it
assumes. Used by the simulated cloud and kubelets (virtual time) and by the demo (real time).
Figures of ``aws()`` after public reports on EKS nodes (launch 2 s, machine up 12-30 s, kubelet
registered 24-28 s after that, device plugin about 10 s); ``demo()`` is short on purpose.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Delay:
    """A log-normal delay; ``tail_share`` of the draws are ``tail_factor`` times longer.

    The 90th percentile of the body is ``median * exp(1.28 * sigma)``.
    """

    median_seconds: float
    sigma: float = 0.2
    tail_share: float = 0.02
    tail_factor: float = 4.0

    def draw(self, rng: random.Random) -> float:
        """One delay in seconds; always two draws of ``rng``, so that seeds stay comparable."""
        body, tail = rng.gauss(0.0, 1.0), rng.random()
        stretch = self.tail_factor if tail < self.tail_share else 1.0
        return self.median_seconds * math.exp(self.sigma * body) * stretch


def exactly(seconds: float) -> Delay:
    """A delay without chance, for tests that count seconds."""
    return Delay(seconds, sigma=0.0, tail_share=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BootModel:
    """From the launch call to a node that sessions can use, step by step.

    ``launch``: the fleet request's answer. ``boot``: pending to running. ``register``: running
    to Node object. ``ready``: Node object to Ready. ``gpus``: Ready to ``nvidia.com/gpu``
    allocatable. ``call``: any other API call. ``shutdown``: shutting-down to terminated.
    """

    launch: Delay = field(default=Delay(2.0, 0.5))
    boot: Delay = field(default=Delay(16.0, 0.3))
    register: Delay = field(default=Delay(25.0, 0.2))
    ready: Delay = field(default=Delay(4.0, 0.3))
    gpus: Delay = field(default=Delay(8.0, 0.3))
    call: Delay = field(default=Delay(0.15, 0.3))
    shutdown: Delay = field(default=Delay(20.0, 0.4))

    @classmethod
    def aws(cls) -> BootModel:
        """Like EC2: sum of the medians 55 s, most nodes within 45 to 75 s."""
        return cls()

    @classmethod
    def demo(cls) -> BootModel:
        """Quick, for people who watch: sum of the medians 11.8 s."""
        return cls(
            launch=Delay(0.8),
            boot=Delay(3.0),
            register=Delay(4.0),
            ready=Delay(1.0),
            gpus=Delay(3.0),
            call=Delay(0.05),
            shutdown=Delay(3.0),
        )

    @classmethod
    def exact(cls) -> BootModel:
        """The medians of ``aws()`` without chance."""
        made = cls()
        names = ("launch", "boot", "register", "ready", "gpus", "call", "shutdown")
        return cls(**{name: exactly(getattr(made, name).median_seconds) for name in names})

    @property
    def median_seconds(self) -> float:
        """Sum of the medians from the launch call to allocatable GPUs."""
        steps = (self.launch, self.boot, self.register, self.ready, self.gpus)
        return sum(step.median_seconds for step in steps)
