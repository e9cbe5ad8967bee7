"""Max-min fair shares: hand-worked cases, and the definition as a property."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasim.simulation.fairness import max_min


def test_one_flow_takes_its_narrowest_link() -> None:
    assert max_min([5.0, 2.0, 9.0], [(0, 1, 2)]) == [2.0]


def test_flows_on_one_link_share_it_equally() -> None:
    assert max_min([12.0], [(0,)] * 3) == [4.0, 4.0, 4.0]


def test_no_flows() -> None:
    assert max_min([1.0], []) == []


def test_long_flow_takes_a_third_and_short_ones_the_rest() -> None:
    # Two links of 1. On the first: the long flow and two short ones; on the second: the long one and a short one.
    long, first, second, alone = max_min([1.0, 1.0], [(0, 1), (0,), (0,), (1,)])
    assert (long, first, second) == (1 / 3, 1 / 3, 1 / 3)
    assert alone == pytest.approx(2 / 3, rel=1e-15)


def test_two_bottlenecks_of_different_width() -> None:
    # 0: capacity 10, flows a b; 1: capacity 3, flows b c. Link 1 fills first: b = c = 1.5, and a has what b leaves.
    assert max_min([10.0, 3.0], [(0,), (0, 1), (1,)]) == [8.5, 1.5, 1.5]


def test_equal_flows_have_equal_rates_to_the_last_bit() -> None:
    hosts = 7
    routes = [(s, hosts + d) for s in range(hosts) for d in range(hosts) if s != d]
    assert set(max_min([1.1] * (2 * hosts), routes)) == {1.1 / 6}


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[float], list[tuple[int, ...]]]:
    capacities = draw(st.lists(st.floats(1e-3, 1e12), min_size=1, max_size=8))
    link = st.integers(0, len(capacities) - 1)
    routes = draw(st.lists(st.lists(link, min_size=1, max_size=4, unique=True).map(tuple), max_size=12))
    return capacities, routes


@given(problems())
def test_no_link_is_over_capacity_and_every_flow_has_a_bottleneck(
    problem: tuple[list[float], list[tuple[int, ...]]],
) -> None:
    capacities, routes = problem
    rates = max_min(capacities, routes)
    loads = [
        sum(rate for rate, route in zip(rates, routes, strict=True) if link in route) for link in range(len(capacities))
    ]
    fastest = [
        max((rate for rate, route in zip(rates, routes, strict=True) if link in route), default=0.0)
        for link in range(len(capacities))
    ]
    for load, capacity in zip(loads, capacities, strict=True):
        assert load <= capacity * (1 + 1e-9)
    for rate, route in zip(rates, routes, strict=True):
        assert rate > 0
        assert any(
            loads[link] >= capacities[link] * (1 - 1e-9) and rate >= fastest[link] * (1 - 1e-9) for link in route
        )
