"""One port, three clusters: in memory, the same behind HTTP, and a real control plane.

And the AWS on loopback for the ports of clouds and notices.
"""

import pytest
from worlds import TOKEN, connected, in_namespace, leave_no_claims, served_memory

from jupyter_gpu_jit.adapters.system import RandomIds, SystemClock
from jupyter_gpu_jit.local.aws_world import AwsWorld
from jupyter_gpu_jit.sim.cluster import MemoryCluster


@pytest.fixture(params=["memory", "http", "real"])
def plane(request):
    """Which cluster it is: "memory", "http", or the control plane (started only when asked for)."""
    if request.param == "real":
        return request.getfixturevalue("control_plane")
    return request.param


@pytest.fixture
async def world(plane):
    if plane == "memory":
        memory = MemoryCluster(SystemClock(), RandomIds())
        yield await in_namespace(memory, real=False)
    elif plane == "http":
        async with served_memory() as (_, _, url), connected(url, TOKEN) as cluster:
            yield await in_namespace(cluster, real=False)
    else:
        ca_file = str(plane.ca_file)
        async with connected(plane.server, plane.admin_token, ca_file) as cluster:
            yield await in_namespace(cluster, real=True)
            await leave_no_claims(cluster)


@pytest.fixture(scope="session")
def aws_world():
    """One AWS for all tests of this process, and credentials that it takes; reset it before use."""
    with AwsWorld() as world, pytest.MonkeyPatch.context() as patch:
        for name, value in world.env.items():
            patch.setenv(name, value)
        yield world
