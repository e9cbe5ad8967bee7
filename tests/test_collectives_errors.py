"""What does not fit its algorithm is refused when the program is asked for, in words that say what to do."""

import pytest

from parasim.errors import ProgramError
from parasim.program.buffers import Buffer
from parasim.program.collectives import expand
from parasim.program.groups import Group
from parasim.program.ops import Collective, Message

GROUP = Group("workers", (4, 2, 7))
X = Buffer("x", 6)


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (Collective("all_reduce", GROUP, X, "rign"), r"all_reduce \(rign\) of group 'workers'.*use ring, binomial"),
        (Collective("barrier", GROUP, algorithm="ring"), "unknown algorithm 'ring': use dissemination or native"),
        (Collective("gather", GROUP, X), "unknown kind of collective 'gather'"),
        (Collective("all_reduce", GROUP), "has no buffer"),
        (Collective("barrier", GROUP, X, "dissemination"), "takes no buffer"),
        (Collective("all_reduce", GROUP, X, reduce="min"), "unknown reduction 'min'"),
        (Collective("broadcast", GROUP, X, "binomial", root=3), "root 3 is no index of a group of 3"),
        (Collective("all_reduce", GROUP, X, "double_tree", chunks=0), "chunks is 0"),
        (Collective("all_reduce", GROUP, X, "torus", shape=(2, 2)), "shape 2 x 2 makes 4 members"),
        (Collective("all_reduce", GROUP, X, "torus", shape=(-1, -3)), "shape -1 x -3"),
        (Collective("all_reduce", GROUP, X, "hierarchical"), r"no shape: give \(nodes, ranks per node\)"),
        (Collective("all_reduce", GROUP, X, counts=(2, 2, 2)), "takes no counts"),
        (Collective("all_gather", GROUP, X, counts=(1, 2, 2)), "sum up to 5, but .* has 6 elements"),
        (Collective("all_gather", GROUP, X, counts=(3, 3)), r"\(3, 3\) must be 3 numbers"),
        (Collective("all_gather", GROUP, X, counts=(8, -1, -1)), "none below 0"),
        (Collective("all_gather", GROUP, X, counts=(2, 2, 2), counts_in=(2, 2, 2)), "counts alone for others"),
        (Collective("all_to_all", GROUP, X, "pairwise", counts=(2, 2, 2)), "give counts and counts_in"),
        (
            Collective("all_to_all", GROUP, X, "pairwise", counts=(2, 2, 2), counts_in=(2, 1, 2)),
            "member 1 sends itself 2 elements and gets 1",
        ),
    ],
)
def test_what_does_not_fit_is_refused_at_once(op, message):
    with pytest.raises(ProgramError, match=message):
        expand(op, 2, "t")


def test_an_outsider_is_refused():
    with pytest.raises(ProgramError, match="rank 5 is no member"):
        expand(Collective("all_reduce", GROUP, X), 5, "t")


def test_a_message_without_payload_is_refused():
    program = expand(Collective("all_reduce", GROUP, X), 2, "t")
    exchange = next(program)
    with pytest.raises(ProgramError, match="from rank 4 has no payload"):
        program.send((Message(exchange.receives[0].source, "t", {}, None),))
