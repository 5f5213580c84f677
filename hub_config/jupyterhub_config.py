"""A production hub with GPU sessions: what is needed beyond it is where, who and which profiles.

In Zero to JupyterHub the first two lines go into ``hub.extraConfig`` and all else into values.
"""

import os

from jupyter_gpu_jit import setup

c = get_config()  # noqa: F821  (JupyterHub defines it)
setup(c)

# Where sessions run, and what they may be.
c.KubeSpawner.namespace = os.environ.get("POD_NAMESPACE", "gpu-jit")
c.KubeSpawner.image = os.environ.get(
    "GPU_JIT_IMAGE", "quay.io/jupyter/pytorch-notebook:cuda12-latest"
)
c.GpuJitSpawner.profiles_file = os.environ.get("GPU_JIT_PROFILES", "/etc/jupyterhub/profiles.yaml")

# How servers reach the hub and the service: by their names inside the cluster.
c.JupyterHub.bind_url = "http://:8000"
c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.hub_connect_url = "http://hub:8081"
c.GpuJitSpawner.service_api_url = "http://proxy-public/services/gpu-jit/api/v1/"
c.GpuJitSpawner.quotes_url = "http://gpu-jit-service:10101/services/gpu-jit/api/v1/quotes"
c.GpuJitSpawner.quotes_token = os.environ.get("GPU_JIT_SERVICE_TOKEN", "")
c.JupyterHub.services = [
    {
        "name": "gpu-jit",
        "url": "http://gpu-jit-service:10101",
        "api_token": os.environ.get("GPU_JIT_SERVICE_TOKEN", ""),
        "oauth_no_confirm": True,
        # The status page (in the Services menu) shows everything to whoever has one of these: all
        # hub admins, and whom a role gives custom:gpu-jit:read. Everybody else sees their own.
        "oauth_client_allowed_scopes": ["admin-ui", "custom:gpu-jit:read"],
        "display": True,
    }
]
