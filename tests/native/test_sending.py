"""The same bytes to many sockets: as the reference does it, whatever became of each of them."""

import os
import socket
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.service.send_each import by_one
from corechain_native import send_each

STATES = ("ready", "full", "hung up", "closed")


def pair(state: str) -> tuple[socket.socket, socket.socket, int]:
    """Both ends and the descriptor of the one that is sent to."""
    own, other = socket.socketpair()
    own.setblocking(False)
    other.setblocking(False)
    if state == "full":
        own.send(b"f" * (8 << 20))  # as much as it takes
    if state == "hung up":
        other.close()
    return own, other, -1 if state == "closed" else own.fileno()


def heard(other: socket.socket) -> bytes:
    found = b""
    try:
        while part := other.recv(1 << 20):
            found += part
    except OSError:  # nothing more, or this end is closed
        return found
    return found


@given(st.lists(st.sampled_from(STATES), max_size=8), st.sampled_from([0, 1, 460, 3 << 20]))
def test_each_socket_takes_as_much_as_from_the_reference(states: list[str], size: int) -> None:
    data, outcomes = os.urandom(size), []
    for send in (send_each, by_one):
        pairs = [pair(state) for state in states]
        rest = send(array("i", [descriptor for _, _, descriptor in pairs]), data)
        got = [heard(other) for _, other, _ in pairs]
        for own, other, _ in pairs:
            own.close()
            other.close()
        outcomes.append((rest, got))
        taken = dict.fromkeys(range(len(states)), size) | dict(rest)
        for place, state in enumerate(states):
            if state == "ready":
                assert got[place] == data[: taken[place]]
            else:
                assert taken[place] == 0
    assert outcomes[0] == outcomes[1]


def test_descriptors_of_another_size_are_refused() -> None:
    for typecode in "bhqI":
        with pytest.raises(ValueError, match="no descriptors of 32 bits"):
            send_each(array(typecode, [1]), b"x")
