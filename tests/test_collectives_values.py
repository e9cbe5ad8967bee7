"""The values of a ring's all-reduce, added up at once, are those of its programs bit for bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parasim.learning.tensors import TorchTensors
from parasim.program import Buffer, Collective, Group
from parasim.program.collectives.values import add_up_ring, step_programs


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), st.integers(0, 40), st.sampled_from(["sum", "mean"]), st.integers(0, 10**6))
def test_a_ring_is_added_up_as_its_programs_do(size: int, elements: int, reduce: str, seed: int) -> None:
    xp = TorchTensors("float32")
    vectors = torch.randn(size, elements, generator=torch.Generator().manual_seed(seed)).exp()
    found = []
    for way in (add_up_ring, step_programs):
        own = [Buffer("x", elements, 4, vector.clone()) for vector in vectors]
        ops = [Collective("all_reduce", Group("all", tuple(range(size))), x, "ring", reduce=reduce) for x in own]
        assert way(ops, xp) == [None] * size
        found.append(torch.stack([x.values for x in own]))
    assert torch.equal(*found)


@pytest.mark.parametrize("size", [2, 3])
def test_members_have_equal_bits(size: int) -> None:
    xp = TorchTensors("float32")
    own = [Buffer("x", 5, 4, torch.full((5,), 0.1 + member)) for member in range(size)]
    add_up_ring([Collective("all_reduce", Group("all", tuple(range(size))), x, "ring") for x in own], xp)
    assert all(torch.equal(own[0].values, x.values) for x in own)
