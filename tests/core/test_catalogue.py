"""The catalogue: what it holds, what is sold where and for how much, and where it comes from."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from jupyter_gpu_jit import catalogue
from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core.model import InstanceType, Resources
from jupyter_gpu_jit.core.quantity import MIB
from jupyter_gpu_jit.core.requirements import CapacityType
from jupyter_gpu_jit.errors import Defect

ROOT = Path(__file__).parents[2]
DATA = Path(catalogue.__file__).parent / "instance_types.csv"


def named(name: str, **options) -> InstanceType:
    return next(t for t in instance_types(**options) if t.name == name)


def prices(kind: InstanceType) -> dict[tuple[str, str], int]:
    return {(o.zone, o.capacity_type.value): o.usd_per_hour_micro for o in kind.offerings}


def test_totals_are_those_of_the_source():
    lines = [line for line in DATA.read_text().splitlines() if not line.startswith("#")]
    column = lines[0].split(",").index("usd_per_hour")
    types = instance_types()
    assert len(types) == len(lines) - 1 == 1400
    assert sum(1 for t in types if t.allocatable.gpus) == 70
    assert sum(1 for line in lines[1:] if line.split(",")[column]) == 1345


def test_types_are_sorted_and_unique():
    names = [t.name for t in instance_types()]
    assert names == sorted(set(names))


def test_an_eight_gpu_type():
    p4d = named("p4d.24xlarge")
    assert (p4d.vcpu, p4d.memory_mib, p4d.architecture) == (96, 1179648, "amd64")
    assert (p4d.gpu_model, p4d.gpu_memory_mib, p4d.gpu_interconnect) == ("A100", 40960, "nvswitch")
    assert p4d.allocatable == Resources(
        cpu_millicpu=95690,
        memory_bytes=1082712 * MIB,
        gpus=8,
        pods=737,
        volumes=27,
        local_disk_bytes=8000 * 10**9,
    )
    assert (p4d.efa_interfaces, p4d.driver_family) == (4, "nvidia")
    assert prices(p4d)["us-east-1a", "on-demand"] == 21_957_642


def test_a_single_gpu_type_and_its_simulated_spot_prices():
    g6 = named("g6.xlarge")
    assert g6.allocatable.cpu_millicpu == 3920
    assert prices(g6) == {
        ("us-east-1a", "on-demand"): 804_800,
        ("us-east-1b", "on-demand"): 804_800,
        ("us-east-1c", "on-demand"): 804_800,
        ("us-east-1a", "spot"): 321_920,
        ("us-east-1b", "spot"): 326_749,
        ("us-east-1c", "spot"): 331_578,
    }


def test_volumes_leave_out_root_disk_and_the_second_interface_where_it_counts():
    # Published limits: 9 for g5.48xlarge, shared with interfaces; 128 for g6.48xlarge, its own.
    assert named("g5.48xlarge").allocatable.volumes == 7
    assert named("g6.48xlarge").allocatable.volumes == 127


def test_a_fraction_of_a_card_is_marked():
    g6f = named("g6f.large")
    assert g6f.driver_family == "nvidia-grid"
    assert (g6f.allocatable.gpus, g6f.gpu_interconnect, g6f.gpu_memory_mib) == (1, "fraction", 2861)


def test_an_unpriced_type_is_listed_but_not_sold():
    p5e = named("p5e.48xlarge")
    assert p5e.allocatable.gpus == 8
    assert p5e.offerings == ()


def test_spot_is_sold_only_where_the_usage_class_allows():
    metal = named("u-3tb1.56xlarge")
    assert {o.capacity_type for o in metal.offerings} == {CapacityType.ON_DEMAND}


def test_zones_and_discount_are_the_callers():
    g6 = named("g6.xlarge", zones=("eu-west-1b",), spot_discount=0.25)
    assert prices(g6) == {
        ("eu-west-1b", "on-demand"): 804_800,
        ("eu-west-1b", "spot"): 603_600,
    }


def test_families_narrow_the_answer():
    only = instance_types(families=("g6", "p4d"))
    assert Counter(t.name.partition(".")[0] for t in only) == {"g6": 8, "p4d": 1}


@pytest.mark.parametrize("discount", [1.0, -0.1])
def test_a_discount_outside_its_range_is_a_defect(discount):
    with pytest.raises(Defect, match="between 0 and 1"):
        instance_types(spot_discount=discount)


def test_the_same_question_is_answered_from_memory():
    assert instance_types(families=["g6"]) is instance_types(families={"g6"})


TYPES = """\
type,vcpu,memory_mib,gpus,gpu_model,gpu_memory_mib,gpu_interconnect,efa,on_demand_usd_hour,arch
b.large,4,8,1,L4,22888,single,0,1.5,amd64
a.large,2,4,0,,,,0,,arm64
"""
EXTRA = """\
type,alloc_cpu_m,alloc_memory_mib,alloc_pods,ebs_max_attachments,ebs_limit_kind,local_nvme_gb,usage_classes,bare_metal,source
a.large,1930,3,8,27,shared,0,on-demand|spot,0,docs
b.large,3920,7,20,32,dedicated,250,on-demand,0,docs
"""


def rebuild(folder: Path, types: str, out: str) -> bytes:
    (folder / "types.csv").write_text(types)
    (folder / "extra.csv").write_text(EXTRA)
    script = ROOT / "tools" / "build_catalogue.py"
    arguments = [folder / "types.csv", folder / "extra.csv", folder / out]
    subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True)
    return (folder / out).read_bytes()


def test_rebuilding_does_not_depend_on_the_order_of_the_source(tmp_path):
    header, *rows = TYPES.splitlines(keepends=True)
    first = rebuild(tmp_path, TYPES, "first.csv")
    second = rebuild(tmp_path, "".join([header, *reversed(rows)]), "second.csv")
    assert first == second
    assert first.decode().splitlines()[-2:] == [
        "a.large,2,4,arm64,0,,,,,1930,3,8,0,on-demand|spot,0,0,25,",
        "b.large,4,8,amd64,1,L4,22888,single,1.5,3920,7,20,250,on-demand,0,0,31,nvidia",
    ]


def test_the_packaged_file_has_the_form_that_the_script_writes(tmp_path):
    ours = DATA.read_text().splitlines()
    built = rebuild(tmp_path, TYPES, "built.csv").decode().splitlines()
    comments = sum(1 for line in built if line.startswith("#"))
    assert ours[: comments + 1] == built[: comments + 1]


OPENED = """
import sys
opened = []
sys.addaudithook(lambda name, args: opened.append(str(args[0])) if name == "open" else None)
from jupyter_gpu_jit.catalogue import instance_types
assert instance_types()
print("\\n".join(name for name in opened if name.endswith((".csv", ".json"))))
"""


def test_only_package_data_is_read_at_run_time(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", OPENED], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert run.stdout.split() == [str(DATA)]
