"""What can stop or delay a service. What is wrong with a message is `corechain.protocol.errors`."""

from collections.abc import Mapping, Sequence

from corechain.protocol.errors import CoreChainError, TransportError
from corechain.service.settings import InvalidSetting


class Halt(CoreChainError):
    """Going on could make it worse: an operator has to look. The message names the way out.

    Only the loop that raised it stands still; the rest of the process goes on.
    """


class WrongNode(Halt):
    """The node serves another chain than the deployment file names."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(
            f"the node serves chain {found}, the deployment is on chain {expected}: "
            "set the RPC URL or the deployment file right"
        )
        self.expected, self.found = expected, found


class WrongDatabase(InvalidSetting):
    """The database is another service's, or another chain's: nothing was changed in it."""


class NewerSchema(WrongDatabase):
    """A newer version has changed the database in a way that this one cannot live with."""

    def __init__(self, migrations: Sequence[str]) -> None:
        super().__init__(
            "DATABASE_URL: a newer version has changed this database in a way that this one cannot "
            f"work with ({', '.join(migrations)}): run that version, or restore the backup from "
            "before the upgrade (docs/operators/upgrade.md)"
        )
        self.migrations = tuple(migrations)


class WriterLockHeld(TransportError):
    """Another process writes what only one may write: this one is its standby."""

    def __init__(self, writer: str) -> None:
        super().__init__(f"another process is the writer {writer}")
        self.writer = writer


class StoreUnavailable(TransportError):
    """The database did not answer, or could not write."""


class AccessRefused(TransportError):
    """A server does not take our user, password or token, or lets it do too little. `setting` names
    what has them. It is asked again like after any other outage: either side may be mended."""

    setting: str


class StoreAccessRefused(StoreUnavailable, AccessRefused):
    """Postgres, or the pooler before it, refuses us."""

    def __init__(self, setting: str, why: str) -> None:
        super().__init__(f"Postgres refuses what {setting} says: {why}")
        self.setting, self.why = setting, why


class NodeUnavailable(TransportError):
    """The node did not answer, or not as the JSON-RPC specification says.

    `fault`: the metric's reason when one of several is left out for it. `wait_s`: for how long it
    asks to be left alone.
    """

    fault = "unavailable"
    wait_s = 0.0


class NodeAccessRefused(NodeUnavailable, AccessRefused):
    """The node, or the provider before it, does not take the key in its URL."""

    setting = "RPC_URL"

    def __init__(self, method: str, status: int) -> None:
        super().__init__(f"{method}: HTTP {status}: the node refuses the key that RPC_URL has")
        self.status = status


class NodeBusy(NodeUnavailable):
    """The node, or the provider before it, asks to be left alone for so many seconds. Until they
    are over it is not asked."""

    fault = "busy"

    def __init__(self, method: str, wait_s: float) -> None:
        super().__init__(f"{method}: the node asks to be left alone for {wait_s:.0f} s")
        self.wait_s = wait_s


class NodeBehind(NodeUnavailable):
    """The node has not seen yet what another answer of it named: ask again in a moment."""


class QuorumLost(NodeUnavailable):
    """Fewer nodes answer than must agree: nothing that the others say is believed."""

    def __init__(self, answered: int, quorum: int, reasons: Mapping[int, str]) -> None:
        why = "; ".join(f"node {number}: {reason}" for number, reason in sorted(reasons.items()))
        super().__init__(f"{quorum} nodes must agree and {answered} answered ({why})")
        self.answered, self.quorum, self.reasons = answered, quorum, reasons


class NodesDisagree(NodeBehind):
    """The nodes contradict each other, and no version has enough of them behind it: ask again."""


class NodeRefused(TransportError):
    """The node answered a call with an error. `data` is the revert data, if there is any."""

    def __init__(self, method: str, code: int, message: str, data: str | None = None) -> None:
        super().__init__(f"{method}: {message} (code {code})")
        self.method, self.code, self.message, self.data = method, code, message, data


class AnswerOverLimit(NodeRefused):
    """The answer is longer than we read on: like a refusal for size, a smaller range is asked for.
    `most` is the limit in bytes."""

    def __init__(self, method: str, most: int) -> None:
        super().__init__(method, 0, f"the answer is over the limit of {most} bytes")
        self.most = most


class FileWithheld(TransportError):
    """No source has the data file of a batch. It may come later."""

    def __init__(self, commitment: bytes, reasons: list[str]) -> None:
        super().__init__(
            f"no source has the data file {commitment.hex()}: {'; '.join(reasons) or 'no sources'}"
        )
        self.commitment, self.reasons = commitment, reasons
