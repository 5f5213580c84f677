"""GPU models: written any usual way, counted with the memory they are sold with."""

import pytest

from jupyter_gpu_jit.catalogue import instance_types
from jupyter_gpu_jit.core.gpus import MODELS, model_named, most_memory_gib, nominal_memory_gib
from jupyter_gpu_jit.errors import UserError


@pytest.mark.parametrize(
    ("model", "reported_mib", "nominal"),
    [
        ("L4", 22888, 24),
        ("L4", 23034, 24),
        ("A10G", 22888, 24),
        ("T4", 16384, 16),
        ("T4", 15109, 16),
        ("V100", 16160, 16),
        ("V100", 32768, 32),
        ("A100", 40960, 40),
        ("A100", 40536, 40),
        ("A100", 81920, 80),
        ("A100", 81559, 80),
        ("H100", 81920, 80),
        ("H100", 81559, 80),
        ("H200", 144384, 141),
        ("H200", 143771, 141),
        ("L40S", 45776, 48),
        ("L40S", 46068, 48),
        ("RTX PRO 4500", 32768, 32),
        ("RTX PRO Server 6000", 98304, 96),
        ("B200", 183359, 192),
        ("B300", 275040, 288),
    ],
)
def test_a_whole_card_has_the_memory_it_is_sold_with(model, reported_mib, nominal):
    assert nominal_memory_gib(model, reported_mib) == nominal


@pytest.mark.parametrize(
    ("model", "reported_mib", "nominal"),
    [
        ("L4", 11444, 12),
        ("L4", 5722, 6),
        ("L4", 2861, 3),
        ("radeon-pro-v520", 8192, 8),
        ("X", 0, 0),
    ],
)
def test_a_fraction_or_an_unknown_card_has_its_own_size(model, reported_mib, nominal):
    assert nominal_memory_gib(model, reported_mib) == nominal


@pytest.mark.parametrize(
    ("written", "model"),
    [
        ("L4", "L4"),
        ("nvidia-l4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("Tesla T4", "T4"),
        ("tesla-v100", "V100"),
        ("NVIDIA Tesla V100", "V100"),
        ("t4G", "T4g"),
        ("a10g", "A10G"),
        ("A10", "A10G"),
        ("rtx_pro_4500", "RTX PRO 4500"),
        ("RTX PRO 6000", "RTX PRO Server 6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO Server 6000"),
        *((name, name) for name in MODELS),
    ],
)
def test_a_model_may_be_written_in_any_usual_way(written, model):
    assert model_named(written) == model


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("H10O", 'did you mean "H100"?'),
        ("A100-80GB", 'did you mean "A100", with memory_gib beside it?'),
        ("Radeon 24GB", "is no GPU model; known here"),
        ("", "known here: T4"),
        ("x" * 1000, "known here: T4"),
        ("radeon-pro-v520", "is no GPU model"),
    ],
)
def test_an_unknown_model_is_answered_with_the_nearest(written, said):
    with pytest.raises(UserError) as caught:
        model_named(written)
    assert said in caught.value.user_message
    assert caught.value.reason == "UnknownGpuModel"


def test_the_largest_memory_is_that_of_the_named_models():
    assert most_memory_gib() == 288
    assert most_memory_gib(["T4", "A100"]) == 80


def test_every_nvidia_model_of_the_catalogue_is_known_with_one_of_its_sizes():
    for found in instance_types():
        if found.gpu_model in ("", "radeon-pro-v520") or found.gpu_interconnect == "fraction":
            continue
        assert nominal_memory_gib(found.gpu_model, found.gpu_memory_mib) in MODELS[found.gpu_model]
