"""One-way channels of several payers and receivers, used in any order, against a model.

given eight channels: keys, keys of their own and a contract that sign, two tokens, two receivers
  when anybody does anything, with vouchers that are stale, uncovered or forged among good ones
    it does what the model does, or is refused by the name that the model says
    it pays a voucher once, whichever way it is claimed
    deposits are payouts and balances
  when everybody leaves
    it gives every payer its unclaimed rest, alone, after the delay
    it is empty when the receivers are paid
"""

from dataclasses import replace
from itertools import product

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from payment_model import (
    ELSEWHERE,
    MAX_AMOUNT,
    MAX_DELAY_S,
    MIN_DELAY_S,
    STRANGE,
    PaymentModel,
    Row,
    Terms,
)
from payment_stage import (
    COIN,
    EVERYBODY,
    FUNDS,
    MAX_PACKED,
    REFUND,
    SCRIP,
    STRANGER,
    TERMS,
    WISHES,
    PaymentStage,
    Wish,
    signed,
    words_of,
)
from support.oracle import run_machine

from corechain.protocol.channel import NOBODY
from corechain.protocol.eip712 import uint_word
from corechain.protocol.hashing import keccak

CHANNELS = st.integers(0, len(TERMS) - 1)
_FEW = st.integers(1, 300)
AMOUNTS = st.one_of(_FEW, _FEW, _FEW, _FEW, st.sampled_from([0, 1, FUNDS + 1, MAX_AMOUNT]))
SIDES = st.sampled_from(["receiver", "shop", "clerk"] * 3 + [STRANGER])
CLERKS = st.sampled_from(["receiver", "clerk"] * 4 + ["shop"])
RECEIVERS = "receiver", "shop"
USUALLY = st.sampled_from([True] * 7 + [False])
BROKEN = {
    "without a payer": ({"payer": NOBODY}, "InvalidChannel"),
    "without a receiver": ({"receiver": NOBODY}, "InvalidChannel"),
    "without a receiver's key": ({"receiver_authorizer": NOBODY}, "InvalidChannel"),
    "without a token": ({"token": NOBODY}, "InvalidChannel"),
    "too hasty": ({"withdraw_delay_s": MIN_DELAY_S - 1}, "WithdrawDelayOutOfRange"),
    "too slow": ({"withdraw_delay_s": MAX_DELAY_S + 1}, "WithdrawDelayOutOfRange"),
}


class PaymentMachine(PaymentStage):
    # -------------------------------------------------------------------------------------- rules

    @initialize(amounts=st.lists(st.integers(0, 2_000), min_size=8, max_size=8))
    def the_payers_deposit(self, amounts: list[int]) -> None:
        for channel, amount in enumerate(amounts):
            self.somebody_deposits(TERMS[channel].payer, channel, amount)

    @rule(sender=st.sampled_from(EVERYBODY), channel=CHANNELS, amount=AMOUNTS)
    def somebody_deposits(self, sender: str, channel: int, amount: int) -> None:
        send = self._send(sender, "open", words_of(self.configs[channel]), amount)
        if self.both(lambda model: model.open(sender, channel, amount), send):
            self.spent[sender, TERMS[channel].token] += amount

    @rule(channel=CHANNELS, amount=st.integers(1, 2_000))
    def a_sponsor_tops_up(self, channel: int, amount: int) -> None:
        self.somebody_deposits("sponsor", channel, amount)

    @rule(sender=SIDES, wishes=WISHES)
    def the_receivers_side_claims(self, sender: str, wishes: list[Wish]) -> None:
        rows = self._rows(wishes, lambda terms: sender in terms.receiver_side)
        send = self._send(sender, "claim", self._claims(rows))
        self.both(lambda model: model.claim(sender, rows), send)

    @rule(signer=CLERKS, wishes=WISHES)
    def a_stranger_claims_by_the_clerks_signature(self, signer: str, wishes: list[Wish]) -> None:
        rows = self._rows(wishes, lambda terms: signer == terms.clerk)
        signature = signed(signer, self._batch_digest(rows))
        send = self._send(STRANGER, "claimWithSignature", self._claims(rows), signature)
        self.both(lambda model: model.claim_signed(signer, rows), send)

    @rule(sender=st.sampled_from(EVERYBODY), receiver=SIDES, token=st.sampled_from([COIN, SCRIP]))
    def somebody_settles(self, sender: str, receiver: str, token: str) -> None:
        send = self._send(sender, "settle", *self._places((receiver, token)))
        self.both(lambda model: model.settle(receiver, token), send)

    @rule(sender=SIDES, wishes=WISHES, receiver=SIDES)
    def the_receivers_side_claims_and_settles(self, sender: str, wishes: list[Wish], receiver: str):
        rows = self._rows(wishes, lambda terms: sender in terms.receiver_side)
        claim = self.contract.encode("claim", self._claims(rows))
        settle = self.contract.encode("settle", self.addresses[receiver], self.addresses[COIN])

        def decide(model: PaymentModel) -> None:
            model.claim(sender, rows)
            model.settle(receiver, COIN)

        self.both(decide, self._send(sender, "multicall", [claim, settle]))

    @rule(sender=SIDES, wishes=WISHES)
    def the_receivers_side_redeems(self, sender: str, wishes: list[Wish]) -> None:
        rows = [r.whole for r in self._rows(wishes, lambda terms: sender in terms.receiver_side)]
        redemptions = [
            (words_of(self.configs[r.channel]), r.ceiling, self._signature(r)) for r in rows
        ]
        send = self._send(sender, "redeem", redemptions)
        self.both(lambda model: model.redeem(sender, rows), send)

    @rule(sender=st.sampled_from(["receiver", "shop", "clerk"]), wishes=WISHES)
    def the_receivers_side_redeems_packed(self, sender: str, wishes: list[Wish]) -> None:
        rows = self._rows(wishes, lambda terms: sender in terms.receiver_side)
        mine = [r for r in rows if sender in TERMS[r.channel].receiver_side]
        rows = [replace(r, ceiling=min(r.ceiling, MAX_PACKED)).whole for r in mine if r.ceiling]
        packed = self._pack(sender, rows)
        self.both(
            lambda model: self._told_of(model.redeem_packed(rows)),
            lambda: self._redeem_packed(sender, packed),
        )

    @rule(way=st.sampled_from(["claim", "redeem"]))
    def no_rows_are_refused(self, way: str) -> None:
        self.both(
            lambda model: getattr(model, way)("receiver", []), self._send("receiver", way, [])
        )
        self.both(
            lambda model: model.redeem_packed([]), lambda: self._redeem_packed("receiver", b"")
        )

    @rule(channel=CHANNELS, more=st.booleans())
    def packed_rows_of_another_length_are_refused(self, channel: int, more: bool) -> None:
        terms = TERMS[channel]
        packed = self._pack(terms.clerk, [Row(channel, 1, 1)])
        # Only what is signed for an account has a length of its own.
        head = 28 if terms.clerk == terms.receiver else 48
        position = len(packed) if more else 0 if terms.authorizer else head
        packed = packed + bytes(1) if more else packed[:-1]
        self.both(
            lambda model: model.refuse("MalformedRows", position),
            lambda: self._redeem_packed(terms.clerk, packed),
        )

    @rule(sender=st.sampled_from(EVERYBODY), channel=CHANNELS, amount=AMOUNTS, honest=USUALLY)
    def the_payer_gives_notice(self, sender: str, channel: int, amount: int, honest: bool) -> None:
        sender = TERMS[channel].payer if honest else sender
        send = self._send(sender, "initiateWithdraw", words_of(self.configs[channel]), amount)
        self.both(lambda model: model.initiate(sender, channel, amount), send)

    @rule(sender=st.sampled_from(EVERYBODY), channel=CHANNELS, honest=USUALLY)
    def the_payer_withdraws(self, sender: str, channel: int, honest: bool) -> None:
        sender = TERMS[channel].payer if honest else sender
        send = self._send(sender, "finalizeWithdraw", words_of(self.configs[channel]))
        self.both(lambda model: model.finalize(sender, channel), send)

    @precondition(lambda self: any(self._delays()))
    @rule(pick=st.integers(0, 20))
    def a_delay_runs_to_its_last_second(self, pick: int) -> None:
        """Which is too early; the next one is not."""
        channel, seconds = self._delays()[pick % len(self._delays())]
        self.time_passes(seconds - 1)
        self.the_payer_withdraws(TERMS[channel].payer, channel, True)
        self.time_passes(1)
        self.the_payer_withdraws(TERMS[channel].payer, channel, True)

    @rule(seconds=st.sampled_from([1, MIN_DELAY_S - 1, MIN_DELAY_S, 3_600, MAX_DELAY_S]))
    def time_passes(self, seconds: int) -> None:
        self.time_passes_by(seconds)

    @rule(sender=st.sampled_from(EVERYBODY), channel=CHANNELS, amount=AMOUNTS, honest=USUALLY)
    def the_receivers_side_refunds(self, sender: str, channel: int, amount: int, honest: bool):
        sender = TERMS[channel].clerk if honest else sender
        send = self._send(sender, "refund", words_of(self.configs[channel]), amount)
        self.both(lambda model: model.refund(sender, channel, amount), send)

    @rule(
        signer=SIDES,
        channel=CHANNELS,
        amount=AMOUNTS,
        off=st.sampled_from([0, 0, 0, 1]),
        honest=USUALLY,
    )
    def a_stranger_refunds_by_the_clerks_signature(self, signer, channel, amount, off, honest):
        signer = TERMS[channel].clerk if honest else signer
        nonce = self.model.books[channel].refunds + off
        words = self.ids[channel] + uint_word(nonce) + uint_word(amount)
        signature = signed(signer, self.domain.digest(keccak(REFUND + words)))
        send = self._send(
            STRANGER,
            "refundWithSignature",
            words_of(self.configs[channel]),
            amount,
            nonce,
            signature,
        )
        self.both(lambda model: model.refund_signed(signer, channel, amount, nonce), send)

    @rule(broken=st.sampled_from(sorted(BROKEN)), amount=st.integers(1, 400))
    def terms_that_are_none_take_no_deposit(self, broken: str, amount: int) -> None:
        changes, name = BROKEN[broken]
        send = self._send("payer", "open", words_of(replace(self.configs[0], **changes)), amount)
        self.both(lambda model: model.refuse(name), send)

    # ---------------------------------------------------------------------------------- invariants

    @invariant()
    def the_contract_holds_what_the_model_says(self) -> None:
        for book, channel_id in zip(self.model.books, self.ids, strict=True):
            assert self.contract.words("channels", channel_id) == (book.kept, book.claimed)
            assert self.contract.words("pendingWithdrawals", channel_id) == (book.pending or (0, 0))
            assert self.contract.words("refundNonce", channel_id) == (book.refunds,)
        for receiver, token in product(RECEIVERS, self.tokens):
            ledger = receiver, token
            totals = self.model.earned[ledger], self.model.settled[ledger]
            assert self.contract.words("receivers", *self._places(ledger)) == totals

    @invariant()
    def nobody_else_gains_or_loses(self) -> None:
        for (role, token), amount in self.model.purses.items():
            assert self._purse(role, token) == amount

    @invariant()
    def deposits_are_payouts_and_balances(self) -> None:
        for token in self.tokens:
            books = [book for book in self.model.books if book.terms.token == token]
            unsettled = sum(
                self.model.earned[receiver, token] - self.model.settled[receiver, token]
                for receiver in RECEIVERS
            )
            assert self._purse("channels", token) == sum(b.free for b in books) + unsettled

    @invariant()
    def a_voucher_never_pays_twice(self) -> None:
        """What the receivers got, or are to get, is the newest voucher of each channel."""
        for receiver, token in product(RECEIVERS, self.tokens):
            ledger = receiver, token
            newest = sum(book.claimed for book in self.model.books if book.terms.ledger == ledger)
            claimed, settled = self.contract.words("receivers", *self._places(ledger))
            got = self._purse(receiver, token) + self.spent[ledger] - FUNDS
            assert got + claimed - settled == newest

    @invariant()
    def nobody_is_paid_more_than_was_signed(self) -> None:
        for book, most in zip(self.model.books, self.promised, strict=True):
            assert book.claimed <= most

    # ------------------------------------------------------------------------------------ the exit

    def everyone_leaves(self) -> None:
        for channel, terms in enumerate(TERMS):
            self._bad_vouchers_pay_nothing(channel, terms)
            self._leaves_alone(channel, terms)
        for receiver, token in product(RECEIVERS, self.tokens):
            self.somebody_settles(STRANGER, receiver, token)
        self.the_contract_holds_what_the_model_says()
        self.nobody_else_gains_or_loses()
        assert [self._purse("channels", token) for token in self.tokens] == [0, 0]

    def _bad_vouchers_pay_nothing(self, channel: int, terms: Terms) -> None:
        """Each kind, in each way that pays at once or later."""
        for flaw in (
            {"kind": "too much"},
            {"kind": "same"},
            {"hand": STRANGE},
            {"hand": ELSEWHERE},
        ):
            wishes = [Wish(channel, 1, astray=True, **flaw)]
            self.the_receivers_side_claims(terms.clerk, wishes)
            self.the_receivers_side_redeems(terms.clerk, wishes)
            self.the_receivers_side_redeems_packed(terms.clerk, wishes)

    def _leaves_alone(self, channel: int, terms: Terms) -> None:
        """By two calls and the delay, whatever notice was given before."""
        before, due = self._purse(terms.payer, terms.token), self.model.books[channel].free
        if self.model.books[channel].pending is not None:
            self.time_passes(terms.delay_s)
            self.the_payer_withdraws(terms.payer, channel, True)
        if self.model.books[channel].free > 0:
            self.the_payer_gives_notice(terms.payer, channel, self.model.books[channel].free, True)
            self.time_passes(terms.delay_s)
            self.the_payer_withdraws(terms.payer, channel, True)
        assert self._purse(terms.payer, terms.token) == before + due


def test_one_way_channels_do_what_their_model_says() -> None:
    run_machine(PaymentMachine)
