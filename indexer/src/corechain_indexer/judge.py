"""Whether bytes are the file of a batch, and whether that file is right. CPU-bound, pure.

Bytes that do not hash to the commitment say something about their source, not about the batch
(docs/decisions/0008).
"""

from dataclasses import dataclass

from corechain.protocol.batch import Origin, UnknownRules
from corechain.protocol.claims import claim_of
from corechain.protocol.errors import ProtocolError
from corechain.protocol.rebuilding import Rebuilt, rebuild_columns
from corechain.service.files.download import Unfit
from corechain_indexer.errors import FileNotJudged
from corechain_indexer.store.files import OpenBatch


class Mismatch(ProtocolError):
    """The data file that was committed to breaks the rules."""

    status = 422


@dataclass(frozen=True, slots=True)
class Expected:
    """Where a data file must say that it belongs."""

    chain_id: int
    registry: bytes


def check_file(data: bytes, entry: OpenBatch, expected: Expected) -> Rebuilt:
    """The batch of a data file; its devices are still to be looked up.

    Raises Unfit for bytes that are not the file, Mismatch with the reason for the file of a wrong
    batch, FileNotJudged for one under rules that this version does not know.
    """
    found = _rebuilt(data, entry)
    origin = found.origin
    if origin != Origin(
        entry.batch_id, origin.previous, origin.ancestor, expected.chain_id, expected.registry
    ):
        raise Mismatch("the file names another batch, chain or registry")
    try:
        found.check_signatures()
    except ProtocolError as error:
        raise Mismatch(f"{error.name}: {error}") from error
    return found


def _rebuilt(data: bytes, entry: OpenBatch) -> Rebuilt:
    try:
        found = rebuild_columns(data)
    except ProtocolError as error:
        _check_claimed(data, entry.commitment)
        if isinstance(error, UnknownRules):
            raise FileNotJudged(f"{error}, which this version does not know") from error
        raise Mismatch(f"{error.name}: {error}") from error
    # Before any signature is verified: that is most of the work, and it would be a stranger's.
    _check_commitment(found.batch.commitment, entry.commitment)
    return found


def _check_claimed(data: bytes, commitment: bytes) -> None:
    try:
        claimed = claim_of(data).commitment
    except ProtocolError as error:
        raise Unfit(f"does not hash to the commitment: {error}") from error
    _check_commitment(claimed, commitment)


def _check_commitment(found: bytes, commitment: bytes) -> None:
    if found != commitment:
        raise Unfit(f"does not hash to the commitment, but to {found.hex()}")
