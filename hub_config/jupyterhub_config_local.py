"""The demo's hub: what every hub with GPU profiles has, and its own addresses."""

from jupyter_gpu_jit.hub import setup
from jupyter_gpu_jit.local.hub_settings import apply

c = get_config()  # noqa: F821  (JupyterHub defines it)
setup(c)
apply(c)
