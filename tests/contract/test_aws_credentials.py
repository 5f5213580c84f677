"""The provisioner's role, taken by a token as in EKS, and what happens while STS is away."""

import datetime

import pytest
from botocore import credentials
from cloud_stages import CLUSTER_FACTS, aws_stage
from simkit import HandClock

from jupyter_gpu_jit.adapters.aws.calls import AwsCalls
from jupyter_gpu_jit.adapters.aws.ec2 import Ec2Cloud
from jupyter_gpu_jit.adapters.aws.settings import AwsSettings
from jupyter_gpu_jit.adapters.aws.sqs import SqsNotices
from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.errors import Rejected, Unavailable

TAKE_ROLE = "AssumeRoleWithWebIdentity"
OUTAGE_SECONDS = 600


class Role:
    """A process with a role and a token, and with no keys."""

    def __init__(self, stage, monkeypatch):
        self.control, self._monkeypatch = stage.world.control, monkeypatch
        self.clock = HandClock()
        url = stage.calls.settings.endpoint_url
        settings = AwsSettings(
            **CLUSTER_FACTS, region="us-east-1", endpoint_url=url, notice_wait_seconds=0
        )
        self.calls = AwsCalls(settings, self.clock)
        self.cloud = Ec2Cloud(self.calls, instance_types())
        self.notices = SqsNotices(self.calls)

    def grow_old(self):
        """What it holds has expired."""
        real = credentials._local_now
        self._monkeypatch.setattr(credentials, "_local_now", lambda: _two_hours_after(real))
        # boto's own cache and the credentials in use each look at a clock of theirs.
        held = self.calls._session.get_credentials()
        held._time_fetcher = lambda: _two_hours_after(real)

    def grow_young(self):
        self._monkeypatch.undo()
        self.calls._session.get_credentials()._time_fetcher = credentials._local_now

    def refuse(self, code, status):
        self.control.post(
            "fault", kind="error", action=TAKE_ROLE, code=code, message="No.", status=status,
            count=None,
        )  # fmt: skip

    def taken(self):
        """How often STS was asked."""
        lines = self.control.get("log")["lines"]
        return sum(line["kind"] == "call" and line["action"] == TAKE_ROLE for line in lines)


def _two_hours_after(clock):
    return clock() + datetime.timedelta(hours=2)


@pytest.fixture
async def role(aws_world, monkeypatch, tmp_path):
    token = tmp_path / "token"
    token.write_text("a.b.c")
    async with aws_stage(aws_world) as stage:
        with pytest.MonkeyPatch.context() as env:
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                env.delenv(name, raising=False)
            env.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/provisioner")
            env.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
            env.setenv("AWS_ENDPOINT_URL_STS", stage.calls.settings.endpoint_url)
            try:
                yield Role(stage, monkeypatch)
            finally:
                aws_world.control.post("fault", clear=True)


async def test_one_role_serves_all_calls(role):
    assert await role.cloud.instances() == ()
    assert await role.notices.receive() == ()
    assert role.taken() == 1


async def test_ten_minutes_without_sts_are_waited_out_at_one_call_a_second(role):
    await role.cloud.instances()
    role.grow_old()
    role.refuse("ServiceUnavailable", 503)
    began, before = role.clock.now(), role.taken()
    while role.clock.now() < began + OUTAGE_SECONDS:
        # That nothing is known must never look like that nothing is there.
        with pytest.raises(Unavailable):
            await role.cloud.instances()
        with pytest.raises(Unavailable):
            await role.notices.receive()
    assert OUTAGE_SECONDS / 2 < role.taken() - before <= OUTAGE_SECONDS + 2
    role.control.post("fault", clear=True)
    role.grow_young()
    ended = role.clock.now()
    assert await role.cloud.instances() == ()
    assert await role.notices.receive() == ()
    assert role.clock.now() - ended < 30


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("IDPCommunicationError", 400, Unavailable),
        ("Throttling", 400, Unavailable),
        ("InvalidIdentityToken", 400, Rejected),
        ("AccessDenied", 403, Rejected),
    ],
)
async def test_a_role_that_is_refused_is_another_thing_than_one_that_is_late(
    role, code, status, kind
):
    role.refuse(code, status)
    with pytest.raises(kind) as error:
        await role.cloud.instances()
    if kind is Rejected:
        assert "check the role of this process and its trust policy" in error.value.user_message
