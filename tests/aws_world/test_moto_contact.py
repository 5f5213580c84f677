"""Every point where we lean on moto's inside. Fails loudly when an upgrade moves one."""

import ast
import inspect
from importlib.metadata import version
from pathlib import Path

import moto
import pytest
from moto.core.responses import ActionResult, BaseResponse
from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.responses import EC2Response
from moto.events.models import Rule
from moto.sqs.models import Queue, SQSBackend

import jupyter_gpu_jit
from jupyter_gpu_jit.local.aws_world import actions, store

UPGRADE = (
    "moto changed underneath the AWS world: read what became of this in moto, mend "
    "jupyter_gpu_jit/local/aws_world/store.py and views.py, then pin the new minor series."
)


def test_moto_is_of_the_series_that_was_read():
    assert version("moto").split(".")[:2] == ["5", "2"], UPGRADE


def test_only_one_module_imports_moto():
    package = Path(jupyter_gpu_jit.__file__).parent
    importing = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or node.names[0].name]
        if name.partition(".")[0] == "moto"
    }
    assert importing == {"local/aws_world/store.py"}


@pytest.mark.parametrize("name", sorted({*actions.ACTIONS, *actions.CHECKS}))
def test_an_action_is_a_method_of_that_name(name):
    # Those that moto lacks are found by boto3's model alone.
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in "".join(name.title().split("_")))
    assert snake.strip("_") == name
    if name in actions.CHECKS:
        assert callable(getattr(EC2Response, name)), UPGRADE


def test_responses_have_what_our_methods_read():
    source = inspect.getsource(BaseResponse)
    for text in ("self.params", "self.region", "isinstance(response, ActionResult)"):
        assert text in source, f"{text}: {UPGRADE}"
    assert EC2Response().automated_parameter_parsing, UPGRADE
    assert ActionResult({"a": 1}).result == {"a": 1}, UPGRADE


def test_run_instances_takes_what_we_give_it():
    parameters = inspect.signature(InstanceBackend.run_instances).parameters
    assert {"image_id", "count", "user_data", "security_group_names", "kwargs"} <= set(parameters)
    given = store._arguments("us-east-1", MACHINE, 1)
    taken = inspect.getsource(Instance.__init__) + inspect.getsource(InstanceBackend.run_instances)
    for key in set(given) - set(parameters) - {"region_name"}:
        assert f'"{key}"' in taken, f"{key}: {UPGRADE}"


MACHINE = store.Machine(
    instance_type="g6.xlarge",
    image_id="ami-12345678",
    subnet_id="subnet-1",
    capacity_type="spot",
)


def test_the_facts_about_types_are_there():
    facts = INSTANCE_TYPES["g6.xlarge"]
    assert facts["VCpuInfo"]["DefaultVCpus"] == 4, UPGRADE
    assert "spot" in facts["SupportedUsageClasses"], UPGRADE
    assert INSTANCE_TYPES["p4d.24xlarge"]["NetworkInfo"]["EfaInfo"]["MaximumEfaInterfaces"] == 4
    rows = INSTANCE_TYPE_OFFERINGS["availability-zone"]["us-east-1"]
    assert {"Location", "InstanceType"} <= set(rows[0]), UPGRADE


def test_backends_have_the_names_that_are_used():
    backend = ec2_backends["123456789012"]["eu-west-1"]
    for name in (
        "launch_template_name_to_ids",
        "launch_templates",
        "iam_instance_profile_associations",
        "volumes",
        "tags",
        "reservations",
        "create_tags",
        "get_default_vpc",
        "get_security_group_from_name",
    ):
        assert hasattr(backend, name), f"{name}: {UPGRADE}"
    subnet = next(iter(backend.describe_subnets()))
    assert hasattr(subnet, "_available_ip_addresses"), UPGRADE
    assert hasattr(SQSBackend, "create_queue"), UPGRADE


def test_queues_take_messages_and_count_them_as_we_replace_it():
    queue = Queue("q", "us-east-1", "123456789012")
    for name in ("visibility_timeout", "receive_message_wait_time_seconds", "redrive_policy",
                 "message_retention_period", "fifo_queue", "region", "name"):  # fmt: skip
        assert hasattr(queue, name), f"{name}: {UPGRADE}"
    assert list(inspect.signature(Queue.add_message).parameters) == ["self", "message"], UPGRADE
    source = inspect.getsource(SQSBackend.send_message)
    assert "queue.add_message(message)" in source, UPGRADE
    assert isinstance(Queue.approximate_number_of_messages, property), UPGRADE


def test_rules_send_events_untransformed():
    parameters = inspect.signature(Rule.send_to_targets).parameters
    assert "transform_input" in parameters, UPGRADE
    assert moto.__version__ == version("moto")
