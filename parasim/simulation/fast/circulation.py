"""All messages of one collective in one compiled loop of events: members, rounds and flows as arrays of numbers.

A member that reaches a round starts each of its messages whose other end is there too. A message takes its latencies
and then flows, max-min fair beside the others on its links (parasim/simulation/filling.py); a member is through a round
when its messages are, and its reductions after them. These are the steps that programs, mailboxes and network take
message by message, at the same instants: what happens at one instant is gathered, and shares are solved once after it.

Messages that go from one member to another in rounds that go the same ways have a number, a *slot*, which they use one
after the other: the next one can't begin before the last is over. The next event of each slot, and of each member, is a
leaf of a binary tree whose nodes know the earliest of their leaves.

Compiled by numba when first imported (some seconds), and kept on disk from then on. Import it where it is needed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parasim.simulation.compiling import compiled
from parasim.simulation.filling import Traffic, solve, take_out

__all__ = ["Course", "Events", "Members", "Messages", "Pieces", "circulate", "earliest_leaf", "set_leaf"]

_SLACK = 1.0 + 4e-15  # see alarm.py
_FRESH = 1024  # see crowd.py

Reals = NDArray[np.float64]
Numbers = NDArray[np.int32]
Places = NDArray[np.int64]


class Course(NamedTuple):
    """What a collective has to do. Rounds that go the same ways have one *pattern*: slots that follow each other."""

    pattern: Numbers  # of each round
    first: Places  # of each round: where its messages begin in `nbytes`, less the first slot of its pattern
    nbytes: Reals  # of each message, round by round
    latency: Reals  # of each message: seconds before it flows
    adding: Reals  # (rounds, members), or (0, 0): seconds of reductions after the messages
    own: Numbers  # the slots of each member, pattern by pattern
    begin: Places  # (patterns, members + 1): where those of a member begin in `own`
    sender: Numbers  # of each slot
    receiver: Numbers  # of each slot


class Members(NamedTuple):
    """Where each member is; times in seconds."""

    at: Numbers  # the round that it has reached, or reaches next
    inside: Numbers  # one: it has reached it
    waiting: Numbers  # messages of the round that are not over
    moving: Numbers  # those of them that have begun
    through: Reals  # when it was through all rounds; infinite: it is not


class Messages(NamedTuple):
    """What has become of each message, round by round; times in seconds, infinite: not yet. No places: nobody asks."""

    begun: Reals
    ended: Reals
    through: Reals  # (rounds, members): when the messages of a member were over


class Pieces(NamedTuple):
    """The disjoint pieces of time, in seconds, in which messages of a member move; so its reductions."""

    first: Places  # of each member: its first place
    over: Places  # of each member: its pieces that are over; the next one may go on
    edges: Reals  # (places, 2): start and end


class Events(NamedTuple):
    """What happens next, and room for what happens in an instant."""

    tree: Reals  # in seconds; node n has the children 2 n and 2 n + 1, the leaves come last: slots, then members
    flowing: Numbers  # of each slot, one: its next event is the end of a flow, not of latencies
    entering: Numbers  # slots whose latencies are over
    ready: Numbers  # members who reach a round


@compiled
def set_leaf(tree: Reals, leaf: int, time: float) -> None:
    """Change the time of a leaf."""
    node = len(tree) // 2 + leaf
    tree[node] = time
    node //= 2
    while node:
        earliest = min(tree[2 * node], tree[2 * node + 1])
        if tree[node] == earliest:
            break
        tree[node] = earliest
        node //= 2


@compiled
def earliest_leaf(tree: Reals) -> int:
    """The leaf that is next."""
    node, leaves = 1, len(tree) // 2
    while node < leaves:
        node = 2 * node + (tree[2 * node] > tree[2 * node + 1])  # a branch would be guessed wrong half of the time
    return node - leaves


@compiled
def circulate(
    course: Course, members: Members, messages: Messages, events: Events, moving: Pieces, adding: Pieces,
    traffic: Traffic, slack: float, until: float,
) -> int:  # fmt: skip
    """Take all members through their rounds, or as far as they come until some second; how many are through.

    `slack` is how many seconds late something may be and still be of an instant.
    """
    tree, flowing, entering, ready = events
    ways = len(course.sender)
    finished = solvings = 0
    while tree[1] <= until and tree[1] < np.inf:
        now, entered = tree[1], 0
        latest = now * _SLACK + slack
        while tree[1] <= latest:
            leaf, reaching = earliest_leaf(tree), 0
            set_leaf(tree, leaf, np.inf)
            if leaf >= ways:
                ready[0], reaching = leaf - ways, 1
            else:
                message = course.first[members.at[course.sender[leaf]]] + leaf
                if not flowing[leaf] and course.nbytes[message] > 0.0:
                    flowing[leaf] = 1
                    traffic.slots[leaf].volume = course.nbytes[message]
                    entering[entered] = leaf
                    entered += 1
                    continue
                if flowing[leaf]:
                    flowing[leaf] = 0
                    take_out(traffic, leaf)
                if len(messages.ended):
                    messages.ended[message] = now
                for member in (course.sender[leaf], course.receiver[leaf]):
                    members.moving[member] -= 1
                    moving.edges[moving.first[member] + moving.over[member], 1] = now
                    members.waiting[member] -= 1
                    if not members.waiting[member] and _leave(
                        course, members, messages, tree, adding, member, now, latest
                    ):
                        ready[reaching], reaching = member, reaching + 1
            for at in range(reaching):
                finished += _reach(course, members, messages, tree, moving, adding, ready[at], now, latest)
        if entered or traffic.counts[0]:
            solvings += 1
            solved = solve(traffic, ways, entering, entered, now, solvings % _FRESH == 0)
            for at in range(solved):
                slot = traffic.lists[at].solved
                end = traffic.slots[slot].end
                if tree[len(tree) // 2 + slot] != end:
                    set_leaf(tree, slot, end)
    return finished


@compiled
def _leave(
    course: Course, members: Members, messages: Messages, tree: Reals, adding: Pieces, member: int, now: float,
    latest: float,
) -> bool:  # fmt: skip
    """A member's messages of a round are over; does it reach the next round in the same instant?"""
    number = members.at[member]
    members.at[member] = number + 1
    members.inside[member] = 0
    if len(messages.through):
        messages.through[number, member] = now
    seconds = course.adding[number, member] if len(course.adding) else 0.0
    if seconds > 0.0 and len(adding.edges):
        place = adding.first[member] + adding.over[member]
        adding.edges[place, 0], adding.edges[place, 1] = now, now + seconds
        adding.over[member] += 1
    if now + seconds <= latest:
        return True
    set_leaf(tree, len(course.sender) + member, now + seconds)
    return False


@compiled
def _reach(
    course: Course, members: Members, messages: Messages, tree: Reals, moving: Pieces, adding: Pieces, member: int,
    now: float, latest: float,
) -> int:  # fmt: skip
    """A member reaches its next round, or the end: one then."""
    while members.at[member] < len(course.pattern):
        number = members.at[member]
        pattern = course.pattern[number]
        low, high = course.begin[pattern, member], course.begin[pattern, member + 1]
        members.inside[member] = 1
        members.waiting[member] = high - low
        for place in range(low, high):
            slot = course.own[place]
            other = course.sender[slot] if course.receiver[slot] == member else course.receiver[slot]
            if members.inside[other] and members.at[other] == number:
                message = course.first[number] + slot
                if len(messages.begun):
                    messages.begun[message] = now
                set_leaf(tree, slot, now + course.latency[message])
                _begin(members, moving, member, now)
                _begin(members, moving, other, now)
        if high > low or not _leave(course, members, messages, tree, adding, member, now, latest):
            return 0
    members.through[member] = now
    return 1


@compiled
def _begin(members: Members, moving: Pieces, member: int, now: float) -> None:
    """A message of a member begins."""
    place = moving.first[member] + moving.over[member]
    if not members.moving[member] and now > moving.edges[place, 1]:
        if moving.edges[place, 1] > moving.edges[place, 0]:
            moving.over[member] += 1
            place += 1
        moving.edges[place, 0] = now
    members.moving[member] += 1
