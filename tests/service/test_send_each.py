"""The same bytes to many sockets, in pure Python."""

import socket
from array import array

from corechain.service.send_each import by_one


def test_one_that_is_full_or_gone_holds_up_nobody() -> None:
    pairs = [socket.socketpair() for _ in range(4)]
    for own, _ in pairs:
        own.setblocking(False)
    full, gone = pairs[1], pairs[2]
    taken = full[0].send(b"f" * (8 << 20))
    gone[1].close()
    rest = by_one(array("i", [own.fileno() for own, _ in pairs]), b"event")
    assert 0 < taken < 8 << 20
    assert rest == [(1, 0), (2, 0)]
    assert [pairs[at][1].recv(100) for at in (0, 3)] == [b"event", b"event"]
    for own, other in pairs:
        own.close()
        other.close()
