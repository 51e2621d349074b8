"""Which nonces the rest gets when some of the planned transactions do not come about. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from corechain_relayer.submitter.plan import Sign


def going_on(actions: Sequence[Sign], goes: Sequence[bool], ordered: bool) -> list[Sign]:
    """Of planned first signatures those that come about. None of them may leave a nonce below its
    own that nobody uses: an ordered queue stops at the first one that does not go on, in another
    one the rest moves up."""
    if ordered:
        first = next((n for n, does in enumerate(goes) if not does), len(actions))
        return list(actions[:first])
    kept = (action for action, does in zip(actions, goes, strict=True) if does)
    nonces = sorted(action.nonce for action in actions)
    return [replace(action, nonce=nonce) for action, nonce in zip(kept, nonces, strict=False)]
