"""What can stop the relayer or its bus, beyond `corechain.service.errors`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from corechain.protocol.errors import ProtocolError, TransportError
from corechain.service.errors import AccessRefused, Halt

OTHER_COMMITMENT = "OtherCommitment"
"""Another commitment stands on chain under our batch id."""
TRANSACTION_REFUSED = "TransactionRefused"
"""The node calls the transaction itself invalid, not its moment."""
KEEPS_REVERTING = "KeepsReverting"
"""Several transactions of one intent reverted, each under a nonce of its own."""


class LaneHalted(Halt):
    """An intent ended in a way that must not happen: it stands still, and in an ordered queue all
    after it. The journal keeps that; `kind` is one of the names above."""

    def __init__(self, intent: str, reason: str, kind: str = OTHER_COMMITMENT) -> None:
        super().__init__(
            f"intent {intent} stands still ({kind}): {reason}; "
            "`corechain relayer lanes` shows it, `corechain relayer release` tries it again"
        )
        self.intent, self.reason, self.kind = intent, reason, kind


class NotLaneSubmitter(Halt):
    """The chain takes no batch of this lane from our key. Nothing is signed until it does."""

    def __init__(self, lane: int, ours: bytes, theirs: bytes, why: str) -> None:
        super().__init__(
            f"our key 0x{ours.hex()} may not commit on lane {lane}: {why} "
            f"(the lane's submitter is 0x{theirs.hex()})"
        )
        self.lane, self.ours, self.theirs, self.why = lane, ours, theirs, why


class ResumeImpossible(Halt):
    """The chain is ahead of the journal, and what is needed to catch up cannot be found."""

    def __init__(self, lane: int, reason: str) -> None:
        super().__init__(
            f"lane {lane} cannot be resumed: {reason}; docs/operators/backup.md says what to do"
        )
        self.lane, self.reason = lane, reason


class UnreadableDelta(Halt):
    """The journal has the changes of a batch in a form that this program does not know."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}: the journal was written by a newer program, or is damaged; run that "
            "program, or restore the journal from a backup"
        )
        self.reason = reason


class LanesInUse(TransportError):
    """Writers that divide devices into another number of lanes are still there."""

    def __init__(self, lanes: int) -> None:
        super().__init__(
            f"aggregators that do not divide by RELAYER_LANES={lanes} still run: stop them first"
        )
        self.lanes = lanes


class BusFull(TransportError):
    """The bus is at a written limit: nothing was appended."""


class BusUnavailable(TransportError):
    """The bus did not answer: whether a frame was appended is unknown."""


class BusAccessRefused(BusUnavailable, AccessRefused):
    """The bus does not take our credentials, or we do not trust its certificate.

    It is asked again like any other outage: either side may be mended.
    """

    def __init__(self, why: str, setting: str = "RELAYER_BUS_URL") -> None:
        super().__init__(f"the bus refuses what {setting} says: {why}")
        self.why, self.setting = why, setting


class BusRestarted(TransportError):
    """The server is not the one whose state is known: nothing was appended."""


class SequenceInUse(TransportError):
    """A device's sequences in a frame are not above what it ever had: nothing was appended.

    Not the device's fault yet: a retry, or reports out of order, look the same from here.
    """


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A setting of the bus's server under which an acknowledgement promises nothing."""

    name: str
    found: str
    wanted: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} is {self.found!r} and has to be {self.wanted!r} ({self.why})"


class BusNotDurable(TransportError):
    """What the bus's server acknowledges it may lose: nothing is appended until it is set right.

    `wrong`: the settings to change; `unknown`: those that the server does not tell.
    """

    def __init__(self, wrong: Sequence[Shortfall], unknown: Sequence[str]) -> None:
        parts = [str(item) for item in wrong]
        if unknown:
            parts.append(
                f"it does not tell {', '.join(unknown)}: allow CONFIG GET (on Kafka "
                "DescribeConfigs), or vouch for the server with RELAYER_BUS_VOUCHED=true"
            )
        super().__init__(f"the bus's server is not durable: {'; '.join(parts)}")
        self.wrong, self.unknown = tuple(wrong), tuple(unknown)


class LanesMismatch(TransportError):
    """The topic of the frames has another number of partitions than there are lanes."""

    def __init__(self, topic: str, partitions: int, lanes: int) -> None:
        super().__init__(
            f"topic {topic} has {partitions} partitions and RELAYER_LANES is {lanes}: set "
            f"RELAYER_LANES={partitions}, or run `corechain bus resize` with RELAYER_LANES={lanes}"
        )
        self.topic, self.partitions, self.lanes = topic, partitions, lanes


class NotABackup(ProtocolError):
    """What was named as a backup is none. `why`: what it is instead."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} is no backup: {why}")
        self.path, self.why = path, why


class BackupDamaged(ProtocolError):
    """A backup is not whole: nothing of it was restored. `findings`: all that is wrong with it."""

    SHOWN: ClassVar = 20
    WHAT: ClassVar = "the backup is damaged"

    def __init__(self, findings: Sequence[str]) -> None:
        shown = "; ".join(findings[: self.SHOWN])
        more = len(findings) - self.SHOWN
        also = f"; and {more} findings more" if more > 0 else ""
        super().__init__(f"{self.WHAT}: {shown}{also}")
        self.findings = tuple(findings)


class DataFilesDamaged(BackupDamaged):
    """The relayer's own data files are not whole, and no earlier backup has them: none is taken."""

    WHAT = "no backup was taken, because data files of RELAYER_DATA_DIR are damaged"


class BackupRunning(TransportError):
    """Two backups at a time into one folder would write the same files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"another backup is being taken into {folder}: wait until it is done")


class DataDirUnusable(TransportError):
    """Nothing can be written into RELAYER_DATA_DIR, as on a full disk: no batch is sealed, and its
    frames stay on the bus until there is room."""

    def __init__(self, why: str) -> None:
        super().__init__(f"RELAYER_DATA_DIR cannot be written: {why}")
        self.why = why


class FolderUnusable(TransportError):
    """A folder or file cannot be made, read or written."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} cannot be used: {why}")
        self.path, self.why = path, why


class BackupOfAnother(ProtocolError):
    """The backup is of a relayer of another chain or registry."""

    def __init__(self, chain_id: int, registry: str) -> None:
        super().__init__(
            f"the backup is of chain {chain_id} with the registry {registry}: "
            "RELAYER_DEPLOYMENT names another network"
        )


class NewerBackup(ProtocolError):
    """The backup was taken by a newer version, whose tables this one does not know."""

    def __init__(self, version: str, migrations: Sequence[str]) -> None:
        super().__init__(
            f"the backup was taken by version {version}, which has migrations that this one has "
            f"not ({', '.join(migrations)}): restore it by that version, or a newer one"
        )


class DatabaseInUse(ProtocolError):
    """A backup is restored into an empty database alone."""

    def __init__(self) -> None:
        super().__init__(
            "the database has tables already: restore into an empty one, then set "
            "RELAYER_DATABASE_URL to it"
        )
