"""The stage of two-way channels: who is there, what they sign, how the model's words are sent."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache

from state_model import ELSEWHERE, NOBODYS, OTHER_TYPE, STRANGE, Channel, State, StateModel, Terms
from support.bench import actor
from support.evm import CHAIN_ID, ENDLESS, START
from support.oracle import OracleMachine

from corechain.protocol.channel import (
    NOBODY,
    ChannelState,
    StateChannel,
    close_digest,
    opening_digest,
    state_domain,
    top_up_digest,
)
from corechain.protocol.eip712 import uint_word
from corechain.protocol.signature import split_secp256k1

COIN, STRICT = "coin", "token that refuses some"
SOON, LATE = START + 2_000, START + 1_000_000
TERMS = (
    Terms("channel", "buyer", "seller", COIN, 600, LATE),
    Terms("the same again", "buyer", "seller", COIN, 600, LATE),
    Terms("back channel", "seller", "buyer", COIN, 3_600, SOON),
    Terms("strict channel", "broker", "buyer", STRICT, 600, SOON),
    Terms("channel of a wallet", "wallet", "seller", STRICT, 60, LATE),
    Terms("channel to a wallet", "broker", "wallet", COIN, 600, LATE),
    Terms("spare channel", "buyer", "seller", COIN, 600, LATE),
    Terms("short channel", "broker", "seller", COIN, 60, SOON),
    Terms("second strict channel", "seller", "broker", STRICT, 600, LATE),
)
PARTIES = ("buyer", "seller", "broker", "wallet")
STRANGER, SPONSOR, WALLET_KEY = "watchtower", "sponsor", "key of the wallet"
EVERYBODY = (*PARTIES, STRANGER, SPONSOR)
Digest = Callable[[bytes], bytes]
FUNDS, FORTUNE = 5_000, 2**90


@cache
def signed(role: str, digest: bytes) -> bytes:
    """A wallet's is that of its key, in three words."""
    if role != "wallet":
        return actor(role).key.sign(digest)
    r, s, parity = split_secp256k1(actor(WALLET_KEY).key.sign(digest))
    return uint_word(r) + uint_word(s) + uint_word(27 + parity)


class StateStage(OracleMachine):
    model: StateModel

    def __init__(self) -> None:
        super().__init__()
        self.cast(*PARTIES, STRANGER, SPONSOR)
        self.deploy("wallet", "KeyWallet", actor(WALLET_KEY).raw)
        self.tokens = {
            COIN: self.deploy(COIN, "MintableToken"),
            STRICT: self.deploy(STRICT, "BlockingToken"),
        }
        self.contract = self.deploy("channels", "StateChannels", NOBODY)
        self.domain = state_domain(CHAIN_ID, self.contract.address)
        self.terms = [self._terms(salt, terms) for salt, terms in enumerate(TERMS)]
        self.ids = [terms.channel_id(CHAIN_ID, self.contract.address) for terms in self.terms]
        self.addresses |= {terms.name: id_ for terms, id_ in zip(TERMS, self.ids, strict=True)}
        purses = {
            (role, token): self._fund(role, token) for role in EVERYBODY for token in self.tokens
        }
        channels = [Channel(terms) for terms in TERMS]
        self.model = StateModel(channels, defaultdict(int, purses), self.evm.now)

    def _fund(self, role: str, token: str) -> int:
        funds = FORTUNE if role == SPONSOR else FUNDS
        who, contract = self.addresses[role], self.tokens[token]
        contract.send(who, "mint", who, funds)
        contract.send(who, "approve", self.contract.address, ENDLESS)
        return funds

    def _terms(self, salt: int, terms: Terms) -> StateChannel:
        a, b, token = (self.addresses[r] for r in (*terms.parties, terms.token))
        return StateChannel(a, b, token, terms.period_s, terms.open_before, salt.to_bytes(5))

    def _purse(self, role: str, token: str) -> int:
        return self.tokens[token].words("balanceOf", self.addresses[role])[0]

    def _held(self, role: str, token: str) -> int:
        places = self.addresses[role], self.addresses[token]
        return self.contract.words("heldFor", *places)[0]

    def _words(self, index: int) -> tuple[object, ...]:
        """Terms as the ABI takes them."""
        terms = self.terms[index]
        times = terms.challenge_period_s, terms.open_before
        return terms.party_a, terms.party_b, terms.token, *times, terms.salt

    # ----------------------------------------------------------------------------------- signatures

    def _sign(self, index: int, hands: Sequence[str], digest: Digest, other: Digest):
        """For both parties. The other digest has the same content, for another purpose."""

        def signature(role: str, hand: str) -> bytes:
            if hand == NOBODYS:
                return b""
            where = self.ids[(index + 1) % len(TERMS) if hand == ELSEWHERE else index]
            hash_ = other(where) if hand == OTHER_TYPE else digest(where)
            return signed(STRANGER if hand == STRANGE else role, hash_)

        return tuple(map(signature, TERMS[index].parties, hands))

    def _as_state(self, state: State) -> Digest:
        return lambda id_: ChannelState(id_, state.version, state.balance_a).digest(self.domain)

    def _as_close(self, state: State) -> Digest:
        return lambda id_: close_digest(self.domain, id_, state.balance_a)

    def _state_signatures(self, index: int, state: State) -> tuple[bytes, ...]:
        return self._sign(index, state.hands, self._as_state(state), self._as_close(state))

    def _close_signatures(self, index: int, state: State) -> tuple[bytes, ...]:
        return self._sign(index, state.hands, self._as_close(state), self._as_state(state))

    def _top_up_signatures(self, index: int, state: State, deposit: int) -> tuple[bytes, ...]:
        def digest(id_: bytes) -> bytes:
            signed_state = ChannelState(id_, state.version, state.balance_a)
            return top_up_digest(self.domain, signed_state, deposit)

        return self._sign(index, state.hands, digest, self._as_state(state))

    def _consents(self, index: int, amounts: Sequence[int], hands: Sequence[str]):
        def digest(id_: bytes) -> bytes:
            return opening_digest(self.domain, id_, *amounts)

        return self._sign(index, hands, digest, self._as_close(State(0, amounts[0])))

    # ---------------------------------------------------------------------------------------- calls

    def _send(self, sender: str, function: str, *arguments: object) -> Callable[[], object]:
        return lambda: self.contract.send(self.addresses[sender], function, *arguments)

    def _send_packed(self, sender: str, function: str, index: int, packed: bytes):
        """Packed bytes behind the terms as this sender writes them."""
        who = self.addresses[sender]
        data = self.terms[index].pack_as_sent_by(who) + packed
        return lambda: self.contract.send_packed(who, function, data)

    def _send_state(self, sender: str, function: str, index: int, state: State, brief: bool):
        signatures = self._state_signatures(index, state)
        if brief and self._fits(sender, index, signatures):
            packed = state.version.to_bytes(5) + state.balance_a.to_bytes(11)
            packed += self._packed_signatures(sender, index, signatures)
            return self._send_packed(sender, "respondBrief", index, packed)
        words = state.version, state.balance_a, *signatures
        return self._send(sender, function, self._words(index), words)

    def _send_close(self, sender: str, index: int, state: State):
        signatures = self._close_signatures(index, state)
        return self._send(sender, "close", self._words(index), state.balance_a, *signatures)

    def _needed(self, sender: str, index: int, signatures: Sequence[bytes]) -> list[bytes]:
        """Those of the parties that are not the sender."""
        pairs = zip(TERMS[index].parties, signatures, strict=True)
        return [signature for party, signature in pairs if party != sender]

    def _fits(self, sender: str, index: int, signatures: Sequence[bytes]) -> bool:
        """Packed signatures are of keys: all of 64 bytes, or none."""
        sizes = {len(signature) for signature in self._needed(sender, index, signatures)}
        return sizes in ({64}, {0})

    def _packed_signatures(self, sender: str, index: int, signatures: Sequence[bytes]) -> bytes:
        return b"".join(self._needed(sender, index, signatures))
