"""``python -m jupyter_gpu_jit.local.aws_world``: serve one world until told to end.

Prints one line of JSON when it is ready. The control token comes from ``AWS_WORLD_TOKEN`` (a
command line can be read by anybody), else a new one is made and is in that line.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import threading

from .parameters import Parameters
from .server import make


def main() -> None:
    """Parse, serve, end on SIGTERM or SIGINT."""
    options = _parser().parse_args()
    token = os.environ.get("AWS_WORLD_TOKEN") or secrets.token_urlsafe(24)
    values = json.loads(options.parameters)
    server = make(
        Parameters().changed(values),
        seed=options.seed,
        region=options.region,
        speed=options.speed,
        token=token,
        port=options.port,
    )

    def stop(*_: object) -> None:
        # Not in the handler itself: serve_forever runs in this thread and would wait for ever.
        threading.Thread(target=server.stop).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    ready = {"url": f"http://127.0.0.1:{server.port}", "token": token}
    server.serve(lambda: print(json.dumps(ready), flush=True))  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jupyter_gpu_jit.local.aws_world",
        description="A believable AWS on loopback.",
    )
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--speed", type=float, default=1.0, help="world seconds per real second")
    parser.add_argument("--parameters", default="{}", help="JSON, see parameters.py")
    return parser


if __name__ == "__main__":
    main()
