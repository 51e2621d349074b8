"""One event to many subscribers: who is sent which bytes, in what order, and who is too slow."""

from array import array
from collections.abc import Iterable, Iterator, Sequence

from corechain.service.send_each import send_each
from corechain_indexer.api.newest import Encoded
from corechain_indexer.api.subscribers import Subscriber
from corechain_indexer.api.wishes import Group
from corechain_indexer.store.contents import Contents

CHUNK = 256
"""Subscribers that are written to before anybody else has a turn: about 2 ms, nearly all of it the
kernel's."""
GOLDEN = 0.618034

Frames = dict[bytes | None, list[Subscriber]]
"""Who is live, by the bytes that they are sent; None: the event is not for them."""


def frames(groups: Iterable[Group], encoded: Encoded, contents: Contents) -> Frames:
    """Groups with different filters may be sent the same: ten thousand that want a device each are
    a group each."""
    found: Frames = {}
    for group in groups:
        found.setdefault(group.frame(encoded, contents), []).extend(group.live)
    return found


def chunks(members: Sequence[Subscriber], number: int) -> Iterator[Sequence[Subscriber]]:
    """All of them. The last has its event a tenth of a second after the first: each event begins
    with somebody else, so that it is not always the same one who is last."""
    # Multiples of the golden ratio fall into the largest gap that the earlier ones have left.
    begin = int(len(members) * (number * GOLDEN % 1))
    turned = [*members[begin:], *members[:begin]]
    for start in range(0, len(turned), CHUNK):
        yield turned[start : start + CHUNK]


def pass_on(members: Iterable[Subscriber], number: int, data: bytes | None) -> list[Subscriber]:
    """Event `number` to those who have not been sent it. Returns those whose kernels and transports
    hold so much unread that they must be left out until they have read it."""
    free, held = [], []
    for subscriber in members:
        # It may have left, or been sent this one already, while others had their turn.
        if subscriber.position < number:
            subscriber.position = number
            transport = subscriber.transport
            # What a transport holds for it goes first, and nothing after what one has thrown away.
            if subscriber.paused or transport.get_write_buffer_size() or transport.is_closing():
                held.append(subscriber)
            else:
                free.append(subscriber)
    if data is None:
        return []
    for subscriber in held:
        subscriber.transport.write(data)
    # Past the transports: no other task runs meanwhile, so that none of them can be closed, and its
    # descriptor be somebody else's.
    for place, taken in send_each(array("i", [one.descriptor for one in free]), data):
        held.append(free[place])
        free[place].transport.write(data[taken:])
    return [subscriber for subscriber in held if subscriber.paused]
