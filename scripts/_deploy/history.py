"""In which block a contract was created, asked of a node that may not remember."""

from collections.abc import Callable

Look = Callable[[int], bool | None]
"""Whether there is code at the end of a block; None: the node does not know any more."""


class UnknownHistory(Exception):
    """The node does not keep the states that would show the block.

    `oldest` is the first block of which it knows that the code is there.
    """

    def __init__(self, oldest: int) -> None:
        super().__init__(f"the node knows the code from block {oldest} on, and nothing before")
        self.oldest = oldest


def creation_block(has_code: Look, head: int) -> int:
    """The first block at whose end there is code, by bisection: some 30 looks on any chain.

    The code is there at `head`, and never goes away. States that a node has dropped are older than
    all that it still has. Raises UnknownHistory.
    """
    # Nothing of ours is in block 0: a node that sees code there answers for its newest state.
    if has_code(0):
        raise UnknownHistory(head)
    without, with_code = 0, head
    while with_code - without > 1:
        middle = (without + with_code) // 2
        if has_code(middle):
            with_code = middle
        else:
            without = middle
    # Exactly: what came as "unknown" may have been a node that was busy for a moment.
    if has_code(without) is not False:
        raise UnknownHistory(with_code)
    return with_code


def confirms(has_code: Look, block: int, head: int) -> bool:
    """Whether the block can be the one that created the code: what the node forgot does not count
    against it."""
    return block <= head and has_code(block) is not False and not has_code(block - 1)
