"""Quantities with units: to SI floats, back, and what is refused."""

import math

import pytest

from parasim.units import DIMENSIONS, EXAMPLES, format_quantity, parse_quantity


@pytest.mark.parametrize(
    ("text", "dimension", "expected"),
    [
        ("10 Gbit/s", "bytes/s", 1.25e9),
        ("10Gbit/s", "bytes/s", 1.25e9),
        ("20 GB/s", "bytes/s", 20e9),
        ("1 GiB/s", "bytes/s", 2.0**30),
        ("50 us", "seconds", 50e-6),
        ("50 \u00b5s", "seconds", 50e-6),
        ("50 \u03bcs", "seconds", 50e-6),
        ("1.5 ms", "seconds", 1.5e-3),
        ("2 min", "seconds", 120.0),
        ("0 s", "seconds", 0.0),
        ("16 MiB", "bytes", 16 * 2.0**20),
        ("100 MB", "bytes", 1e8),
        ("8 bit", "bytes", 1.0),
        ("50 GFLOP/s", "FLOP/s", 50e9),
        ("1e3 MFLOP/s", "FLOP/s", 1e9),
        ("2.5 TFLOP", "FLOP", 2.5e12),
        ("0.1 ns/B", "seconds/byte", 1e-10),
        (".5 s", "seconds", 0.5),
        (0, "seconds", 0.0),
    ],
)
def test_parse(text: object, dimension: str, expected: float) -> None:
    assert parse_quantity(text, dimension) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("value", "dimension", "message"),
    [
        (10, "bytes/s", "10 has no unit: write '10 Gbit/s'"),
        ("10", "bytes/s", "'10' has no unit: write '10 Gbit/s'"),
        (0.5, "seconds", "0.5 has no unit: write '0.5 us'"),
        (1.25e9, "bytes/s", "1250000000.0 has no unit: write '1.25 GB/s' if it is bytes/s"),
        (17179869184, "bytes", "17179869184 has no unit: write '17.2 GB' if it is bytes"),
        ("10 Gb/s", "bytes/s", "'10 Gb/s': 'Gb/s' may mean bits or bytes: write '10 Gbit/s' or '10 GB/s'"),
        ("10 Gbps", "bytes/s", "'10 Gbps': 'Gbps' may mean bits or bytes: write '10 Gbit/s' or '10 GB/s'"),
        ("10 KB", "bytes", "'10 KB': 'K' may mean 1000 or 1024: write '10 kB' or '10 KiB'"),
        ("50 GFLOPS", "FLOP/s", "'50 GFLOPS': write '50 GFLOP/s'"),
        ("50 GFLOP", "FLOP/s", "'50 GFLOP': write '50 GFLOP/s'"),
        ("50 US", "seconds", "'50 US': unknown unit 'US' (did you mean '50 us'?)"),
        ("10 GB", "seconds", "'10 GB' is in bytes, not seconds: write '50 us'"),
        ("10 parsec", "seconds", "'10 parsec': unknown unit 'parsec': write '50 us'"),
        ("-1 ms", "seconds", "'-1 ms' is negative"),
        (-1, "seconds", "-1 is negative, and has no unit: write '50 us'"),
        (math.nan, "seconds", "nan is not finite: write '50 us'"),
        (math.inf, "seconds", "inf is not finite: write '50 us'"),
        ("nan s", "seconds", "'nan s' is not finite: write '50 us'"),
        ("1e999 s", "seconds", "'1e999 s' is too large"),
        ("1e13 EB/s", "bytes/s", "'1e13 EB/s' is too large"),
        ("1e-31 B/s", "bytes/s", "'1e-31 B/s' is too small"),
        ("fast", "seconds", "'fast' is no quantity: write a number and a unit, as in '50 us'"),
        ("", "seconds", "'' is no quantity: write a number and a unit, as in '50 us'"),
        (True, "seconds", "True is no quantity: write '50 us'"),
        (["1 s"], "seconds", "['1 s'] is no quantity: write '50 us'"),
    ],
)
def test_refused(value: object, dimension: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_quantity(value, dimension)
    assert str(error.value) == message


def test_huge_input_is_refused_in_one_short_line() -> None:
    for value in ("9" * 1_000_000, 10**400):
        with pytest.raises(ValueError) as error:
            parse_quantity(value, "seconds")
        assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("value", "dimension", "text"),
    [
        (1.25e-3, "seconds", "1.25 ms"),
        (0.0, "seconds", "0 s"),
        (0.9999999, "seconds", "1 s"),
        (119.0, "seconds", "119 s"),
        (300.0, "seconds", "5 min"),
        (86400.0, "seconds", "24 h"),
        (1e-12, "seconds", "0.001 ns"),
        (1.25e9, "bytes/s", "1.25 GB/s"),
        (123456.0, "bytes", "123 kB"),
        (999999.0, "bytes", "1 MB"),
        (12.0, "bytes", "12 B"),
        (50e9, "FLOP/s", "50 GFLOP/s"),
        (1e-10, "seconds/byte", "100 ps/B"),
    ],
)
def test_format(value: float, dimension: str, text: str) -> None:
    assert format_quantity(value, dimension) == text


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_what_is_written_can_be_read(dimension: str) -> None:
    for exponent in range(-12, 20):
        value = 1.2345678 * 10.0**exponent
        assert parse_quantity(format_quantity(value, dimension, 9), dimension) == pytest.approx(value, rel=1e-8)
    assert parse_quantity(EXAMPLES[dimension], dimension) > 0
