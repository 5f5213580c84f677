"""Units: what Kubernetes reads is read alike, what it refuses is refused with a sentence."""

from decimal import Context, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpu_jit.core.quantity import (
    GIB,
    KIB,
    MIB,
    format_bytes,
    format_cpu,
    format_time,
    format_usd,
    parse_bytes,
    parse_count,
    parse_cpu,
    parse_quantity,
    parse_time,
    usd_to_micro,
)
from jupyter_gpu_jit.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("5.", "5"),
        (".5", "0.5"),
        ("+5", "5"),
        ("-5", "-5"),
        ("100m", "0.1"),
        ("5u", "0.000005"),
        ("5n", "0.000000005"),
        ("2k", "2000"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1e-3", "0.001"),
        ("1.5e+2", "150"),
        ("12E", "12000000000000000000"),
        ("12Ei", str(12 * 2**60)),
        ("1.5Gi", "1610612736"),
        ("1Ki", "1024"),
        ("1M", "1000000"),
        (7, "7"),
        (0.25, "0.25"),
        (1e16, "10000000000000000"),
    ],
)
def test_a_quantity_is_read_as_kubernetes_reads_it(text, value):
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        " 5",
        "5 ",
        "5\n",
        "m",
        ".",
        "1e",
        "1e1234",
        "1eE",
        "K",
        "1K",
        "1ki",
        "1KI",
        "1Kib",
        "1mi",
        "0x10",
        "1_000",
        "1,000",
        "--1",
        "١",
        "NaN",
        "Infinity",
        "1" * 65,
        float("nan"),
        float("inf"),
        10**400,
        True,
        None,
        [],
        {},
        b"5",
    ],
)
def test_anything_else_is_refused_with_a_sentence(text):
    for parse in (parse_quantity, parse_cpu, parse_bytes, parse_count):
        with pytest.raises(UserError) as caught:
            parse(text)
        assert caught.value.reason == "BadQuantity"
        assert caught.value.user_message.isprintable()


@given(st.text() | st.floats() | st.integers() | st.from_regex(r"[+-]?[0-9.]+[a-zA-Z]*[0-9]*"))
def test_any_text_or_number_is_a_quantity_or_refused(text):
    try:
        value = parse_quantity(text)
    except UserError:
        return
    assert parse_cpu(text) >= value * 1000 > parse_cpu(text) - 1


def test_amounts_are_rounded_up_as_the_scheduler_rounds():
    assert parse_cpu("0.0001") == 1
    assert parse_cpu("1500u") == 2
    assert parse_bytes("1500m") == 2
    assert parse_count("0.5") == 1
    assert parse_bytes("1.1Ki") == 1127


def test_arithmetic_does_not_depend_on_the_context_of_the_thread():
    with localcontext(Context(prec=2)):
        assert parse_bytes("12345Mi") == 12345 * MIB
        assert parse_cpu("1.234567") == 1235
        assert usd_to_micro("32.772600") == 32_772_600


@given(st.integers(0, 10**9))
def test_formatted_amounts_read_back(amount):
    assert parse_cpu(format_cpu(amount)) == amount
    assert parse_bytes(format_bytes(amount)) == amount


def test_amounts_are_written_in_the_largest_exact_unit():
    assert [format_cpu(m) for m in (8000, 7910, 0)] == ["8", "7910m", "0"]
    sizes = (64 * GIB, 14162 * MIB, 3 * KIB, 1025, 0)
    assert [format_bytes(s) for s in sizes] == ["64Gi", "14162Mi", "3Ki", "1025", "0"]


def test_money_is_whole_micro_usd_rounded_up():
    assert usd_to_micro("0.0255") == 25_500
    assert usd_to_micro("0.0000001") == 1
    assert usd_to_micro(0.1) == 100_000
    assert usd_to_micro(3) == 3_000_000
    assert usd_to_micro(Decimal("1.5")) == 1_500_000
    assert usd_to_micro("1e-3") == 1000


@pytest.mark.parametrize(
    "usd",
    [
        *("", "x", "nan", "inf", "1_0", "٣", "1e999999", "1" * 65),
        *(True, None, float("nan"), 10**400),
        *(Decimal("Infinity"), Decimal("NaN"), Decimal("1" * 65)),
    ],
)
def test_what_is_no_money_is_refused(usd):
    with pytest.raises(UserError, match="is not an amount of money"):
        usd_to_micro(usd)


def test_money_for_people_has_cents_and_small_money_tenths_of_them():
    amounts = (21_960_000, 67_000, 99_999, 100_000, 0, -50_000)
    shown = ["$21.96", "$0.067", "$0.100", "$0.10", "$0.00", "$-0.050"]
    assert [format_usd(a) for a in amounts] == shown


def test_times_are_read_as_kubernetes_writes_them():
    assert parse_time("1970-01-01T00:00:10Z") == 10
    assert parse_time("1970-01-01T00:00:10.250000Z") == 10.25
    assert parse_time("1970-01-01T01:00:10+01:00") == 10
    assert parse_time("1970-01-01T00:00:10.123456789Z") == pytest.approx(10.123456)


@pytest.mark.parametrize(
    "text", ["", "now", "1970-01-01", "1970-01-01T00:00:10", None, 5, "x" * 999]
)
def test_a_time_without_an_offset_or_none_at_all_is_refused(text):
    with pytest.raises(UserError, match="is not a time"):
        parse_time(text)


@given(st.floats(0, 4e9))
def test_times_read_back_to_the_microsecond(moment):
    assert parse_time(format_time(moment)) == pytest.approx(moment, abs=1e-6)
    assert format_time(moment).endswith("Z")


def test_a_number_too_long_to_be_shown_is_refused_like_any_other():
    with pytest.raises(UserError):
        parse_quantity(10**5000)
    with pytest.raises(UserError):
        usd_to_micro(10**5000)
