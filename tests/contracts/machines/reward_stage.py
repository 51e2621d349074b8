"""The stage of rewards: who is there, what they sign, how the model's words are sent."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from reward_model import GUARDIAN, PROPOSER, Authorisation, RewardModel, Row
from support.bench import actor
from support.evm import CHAIN_ID
from support.oracle import OracleMachine

from corechain.protocol.eip712 import Domain, address_word, uint_word
from corechain.protocol.hashing import keccak
from corechain.protocol.rewards import Owner, RewardClaim, RewardTree
from corechain.protocol.signature import wallet_signature

OWNERS = ("first owner", "second owner", "third owner", "fourth owner", "fifth owner")
RELAYER, STRANGER, TREASURY = "relayer", "stranger", "treasury"
EVERYBODY = (*OWNERS, RELAYER, STRANGER, TREASURY, PROPOSER, GUARDIAN)
SUPPLY, CAP, FEE_BPS, WINDOW_S = 5_000, 100_000, 100, 3_600
PERMIT = keccak(
    b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)
TRANSFER = keccak(
    b"TransferWithAuthorization(address from,address to,uint256 value,"
    b"uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
CANCEL = keccak(b"CancelAuthorization(address authorizer,bytes32 nonce)")


@cache
def _tree(amounts: tuple[tuple[str, int], ...]) -> RewardTree:
    return RewardTree({Owner(actor(role).raw): amount for role, amount in amounts})


def tree_of(amounts: Mapping[str, int]) -> RewardTree:
    return _tree(tuple(amounts.items()))


def _shown(row: Row) -> RewardClaim:
    """A proof from the row's tree, for its amount; a forged one is wrong in its last byte."""
    claim = tree_of(row.tree).claim(Owner(actor(row.owner).raw))
    last = claim.proof[-1]
    end = (*claim.proof[:-1], last[:-1] + bytes([last[-1] ^ 1])) if row.forged else claim.proof
    return RewardClaim(claim.owner, row.cumulative, claim.position, end)


class RewardStage(OracleMachine):
    model: RewardModel

    def __init__(self) -> None:
        super().__init__()
        self.cast(*EVERYBODY, "admin")
        self.addresses["nobody"] = bytes(20)
        roles = (self.addresses[role] for role in ("admin", PROPOSER, GUARDIAN))
        economy = WINDOW_S, CAP, FEE_BPS, self.addresses[TREASURY], SUPPLY
        self.contract = self.deploy("token", "CoreToken", *roles, *economy)
        self.domain = Domain("CoreChain", "1", CHAIN_ID, self.contract.address)
        balances = defaultdict(int, {TREASURY: SUPPLY})
        self.model = RewardModel(CAP, FEE_BPS, WINDOW_S, self.evm.now, balances)

    def _send(self, sender: str, function: str, *arguments: object) -> Callable[[], object]:
        return lambda: self.contract.send(self.addresses[sender], function, *arguments)

    def _sign(self, role: str, struct: bytes) -> bytes:
        return actor(role).key.sign(self.domain.digest(keccak(struct)))

    # --------------------------------------------------------------------------------------- roots

    def _send_proposal(
        self, sender: str, epoch: int, amounts: Mapping[str, int] | None, emission: int
    ):
        root = tree_of(amounts).root if amounts else bytes(26)
        return self._send(sender, "proposeRoot", epoch, root, 1, emission)

    def _send_veto(self, sender: str, epoch: int) -> Callable[[], object]:
        return self._send(sender, "veto", epoch)

    # -------------------------------------------------------------------------------------- claims

    def _send_claim(self, sender: str, row: Row) -> Callable[[], object]:
        claim = _shown(row)
        words = claim.owner, claim.cumulative, claim.position, claim.proof
        return self._send(sender, "claim", *words)

    def _send_many(self, sender: str, rows: Sequence[Row], minimum: int) -> Callable[[], object]:
        claims = [_shown(row) for row in rows]
        words = [(c.owner, c.cumulative, c.position, c.proof) for c in claims]
        return lambda: self.contract.send(self.addresses[sender], "claimMany", words, minimum)[0]

    # ----------------------------------------------------------------------------------- signatures

    def _send_permit(
        self, owner: str, spender: str, amount: int, nonce: int, deadline: int, hand: str
    ):
        places = self.addresses[owner], self.addresses[spender]
        words = (*map(address_word, places), *map(uint_word, (amount, nonce, deadline)))
        whole = wallet_signature(self._sign(hand, PERMIT + b"".join(words)))
        parts = whole[64], whole[:32], whole[32:64]
        return self._send(STRANGER, "permit", *places, amount, deadline, *parts)

    def _send_transfer(self, paper: Authorisation, whole: bool) -> Callable[[], object]:
        places, nonce = (
            (self.addresses[paper.payer], self.addresses[paper.to]),
            uint_word(paper.nonce),
        )
        numbers = paper.amount, paper.valid_after, paper.valid_before
        struct = TRANSFER + b"".join((*map(address_word, places), *map(uint_word, numbers), nonce))
        words = (*places, *numbers, nonce)
        return self._send_signed("transferWithAuthorization", words, paper.hand, struct, whole)

    def _send_cancellation(self, paper: Authorisation, whole: bool) -> Callable[[], object]:
        payer, nonce = self.addresses[paper.payer], uint_word(paper.nonce)
        struct = CANCEL + address_word(payer) + nonce
        return self._send_signed("cancelAuthorization", (payer, nonce), paper.hand, struct, whole)

    def _send_signed(
        self, function: str, words: Sequence[object], hand: str, struct: bytes, whole: bool
    ):
        """With the signature in one piece or in three."""
        signature = self._sign(hand, struct)
        if whole:
            return self._send(STRANGER, function, *words, signature)
        parts = wallet_signature(signature)
        return self._send(STRANGER, function, *words, parts[64], parts[:32], parts[32:64])
