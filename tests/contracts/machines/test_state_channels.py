"""Two-way channels of three parties and a wallet, used in any order, against a model.

given nine channels: some of the same parties, with a token that refuses some, of a contract
  when anybody does anything, with states that are stale, uncovered, forged or of another channel
    it does what the model does, or is refused by the name and the values that the model says
    the newest state that it was shown stands
    deposits are payouts, balances and what is held
  when a party leaves from any state, holding the newest state that both have signed
    it gets at least its balance in that state, with nobody's help
"""

from collections.abc import Callable
from copy import deepcopy

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from state_model import (
    CLOSED,
    ELSEWHERE,
    MAX_AMOUNT,
    NOBODYS,
    OTHER_TYPE,
    OWN,
    STRANGE,
    Channel,
    State,
)
from state_stage import (
    COIN,
    EVERYBODY,
    FUNDS,
    PARTIES,
    STRANGER,
    STRICT,
    TERMS,
    StateStage,
)
from support.oracle import run_machine

ANY = st.integers(0, len(TERMS) - 1)
"""A channel, open or not."""
PICKS = st.integers(0, 4 * len(TERMS) - 1)
"""Mostly one that fits: see `_mostly`."""
_FEW = st.integers(1, 300)
AMOUNTS = st.one_of(_FEW, _FEW, _FEW, _FEW, st.sampled_from([0, FUNDS + 1, MAX_AMOUNT]))
SENDERS = st.sampled_from([0, 1, 0, 1, 0, 1, 2, 3])
"""Party A, party B, a watchtower, a party of other channels."""
_HAND = st.sampled_from([OWN] * 12 + [STRANGE, ELSEWHERE, OTHER_TYPE, NOBODYS])
HANDS = st.tuples(_HAND, _HAND)
STATES = st.sampled_from(
    ["newest"] * 6 + ["older", "older", "standing", "over", "version of closed"]
)
SHARES = st.integers(0, 100)


class StateMachine(StateStage):
    def __init__(self) -> None:
        super().__init__()
        self.history: list[list[State]] = [[State(0, 0)] for _ in TERMS]
        """Of each channel what both parties have signed, oldest first."""
        self.shown = [State(0, 0) for _ in TERMS]
        """Of each channel the newest state that the contract has taken."""
        self.spent = dict.fromkeys((COIN, STRICT), 0)

    def _who(self, index: int, sender: int) -> str:
        return (*TERMS[index].parties, STRANGER, "broker")[sender]

    def _mostly(self, pick: int, wanted: Callable[[Channel], bool]) -> int:
        """Three times in four a channel as it is wanted, if there is one."""
        found = [i for i, channel in enumerate(self.model.channels) if wanted(channel)]
        return found[pick % len(found)] if found and pick >= len(TERMS) else pick % len(TERMS)

    def _pick(self, index: int, kind: str, share: int) -> State:
        channel, history = self.model.channels[index], self.history[index]
        states = {
            "newest": history[-1],
            "older": history[len(history) * share // 101],
            "standing": State(channel.version, channel.balance_a),
            "over": State(history[-1].version + 1, channel.deposit + 1),
        }
        return states.get(kind, State(CLOSED, channel.balance_a))

    def _took(self, index: int, state: State) -> None:
        self.shown[index] = state

    # ------------------------------------------------------------------------------ opening, top-up

    @initialize(amounts=st.lists(st.integers(1, 500), min_size=len(TERMS), max_size=len(TERMS)))
    def most_channels_are_opened(self, amounts: list[int]) -> None:
        for index, amount in enumerate(amounts):
            if amount % 3:
                self._open(index, 0, amount, amount // 2)

    @rule(pick=PICKS, sender=SENDERS, amount_a=AMOUNTS, amount_b=AMOUNTS)
    def somebody_opens(self, pick, sender, amount_a, amount_b) -> None:
        index = self._mostly(pick, lambda channel: channel.word == (0, 0, 0, 0))
        self._open(index, sender, amount_a, amount_b)

    def _open(self, index, sender, amount_a, amount_b) -> None:
        who = self._who(index, sender)
        send = self._send(who, "open", self._words(index), amount_a, amount_b)
        if self.both(lambda model: model.open(who, index, amount_a, amount_b), send):
            self._opened(index, amount_a, amount_a + amount_b)

    @rule(pick=PICKS, sender=SENDERS, amounts=st.tuples(AMOUNTS, AMOUNTS), hands=HANDS)
    def both_deposit_together(self, pick, sender, amounts, hands) -> None:
        index = self._mostly(pick, lambda channel: channel.word == (0, 0, 0, 0))
        who = self._who(index, sender)
        consents, permit = self._consents(index, amounts, hands), (0, 0, bytes(32), bytes(32))
        shares = [(*share, permit) for share in zip(amounts, consents, strict=True)]
        send = self._send(who, "openTogether", self._words(index), *shares)
        if self.both(lambda model: model.open_together(who, index, amounts, hands), send):
            self._opened(index, amounts[0], sum(amounts))

    def _opened(self, index: int, amount_a: int, deposit: int) -> None:
        self.history[index], self.shown[index] = [State(0, amount_a)], State(0, amount_a)
        self.spent[TERMS[index].token] += deposit

    @rule(pick=PICKS, amount=AMOUNTS, who=st.sampled_from(EVERYBODY))
    def somebody_tops_up(self, pick: int, amount: int, who: str) -> None:
        index = self._mostly(pick, lambda channel: channel.is_open)
        send = self._send(who, "topUp", self._words(index), amount)
        if self.both(lambda model: model.top_up(who, index, amount), send):
            self.spent[TERMS[index].token] += amount

    @rule(pick=PICKS, sender=SENDERS, amount=AMOUNTS, share=SHARES, hands=HANDS)
    def somebody_tops_up_with_a_state(self, pick, sender, amount, share, hands) -> None:
        index = self._mostly(pick, lambda channel: channel.is_open)
        who, channel = self._who(index, sender), self.model.channels[index]
        deposit = min(channel.deposit + amount, MAX_AMOUNT)
        version = self.history[index][-1].version + 1 if share else channel.version
        state = State(version, min(deposit * share // 99, MAX_AMOUNT), hands)
        words = state.version, state.balance_a, *self._top_up_signatures(index, state, deposit)
        send = self._send(who, "topUpWithState", self._words(index), deposit, words)
        before = channel.deposit
        if self.both(lambda model: model.top_up_signed(who, index, deposit, state), send):
            self.spent[TERMS[index].token] += deposit - before
            self.history[index].append(State(state.version, state.balance_a))
            self._took(index, state)

    # -------------------------------------------------------------------------------------- states

    @rule(pick=PICKS, share=SHARES, steps=st.integers(1, 3))
    def the_parties_agree_on_a_state(self, pick: int, share: int, steps: int) -> None:
        """Off the chain, which learns nothing of it."""
        index = self._mostly(pick, lambda channel: channel.is_open)
        balance = self.model.channels[index].deposit * share // 100
        self.history[index].append(State(self.history[index][-1].version + steps, balance))

    @rule(pick=PICKS, who=SENDERS, kind=STATES, share=SHARES, hands=HANDS)
    def somebody_challenges(self, pick, who, kind, share, hands) -> None:
        index = self._mostly(pick, lambda channel: channel.is_open)
        self._show("challenge", index, who, self._pick(index, kind, share), hands)

    @rule(pick=PICKS, who=SENDERS, kind=STATES, share=SHARES, hands=HANDS, brief=st.booleans())
    def somebody_responds(self, pick, who, kind, share, hands, brief) -> None:
        index = self._mostly(pick, lambda channel: channel.deadline > 0)
        self._show("respond", index, who, self._pick(index, kind, share), hands, brief)

    def _show(self, way, index, sender, state, hands=(OWN, OWN), brief=False) -> None:
        who, state = self._who(index, sender), State(state.version, state.balance_a, hands)
        send = self._send_state(who, way, index, state, brief)
        if self.both(lambda model: getattr(model, way)(who, index, state), send):
            self._took(index, state)

    # ------------------------------------------------------------------------------------- payouts

    @rule(pick=PICKS, sender=SENDERS, share=st.integers(0, 103), hands=HANDS)
    def the_parties_close(self, pick, sender, share, hands) -> None:
        index = self._mostly(pick, lambda channel: channel.is_open)
        who, deposit = self._who(index, sender), self.model.channels[index].deposit
        state = State(0, min(deposit * share // 100, MAX_AMOUNT), hands)
        send = self._send_close(who, index, state)
        self.both(lambda model: model.close(who, index, state), send)

    @rule(pick=PICKS, who=st.sampled_from(EVERYBODY))
    def somebody_finalises(self, pick: int, who: str) -> None:
        index = self._mostly(pick, lambda channel: channel.deadline > 0)
        self._finalise(index, who)

    def _finalise(self, index: int, who: str) -> None:
        send = self._send(who, "finalise", self._words(index))
        self.both(lambda model: model.finalise(index), send)

    @rule(indexes=st.lists(ANY, max_size=8))
    def somebody_finalises_many(self, indexes: list[int]) -> None:
        who = self.addresses[STRANGER]

        def send() -> object:
            return self.contract.send(who, "finaliseMany", [self._words(i) for i in indexes])[0]

        self.both(lambda model: model.finalise_many(indexes), send)

    @rule(party=st.sampled_from(PARTIES), token=st.sampled_from([COIN, STRICT, STRICT]))
    def somebody_withdraws_what_is_held(self, party: str, token: str) -> None:
        places = self.addresses[party], self.addresses[token]
        send = self._send(STRANGER, "withdrawHeld", *places)
        self.both(lambda model: model.withdraw_held(party, token), send)

    @rule(party=st.sampled_from(["broker", "buyer", "wallet", "seller"]), refuses=st.booleans())
    def the_token_refuses_a_party(self, party: str, refuses: bool) -> None:
        who = self.addresses[party]
        self.tokens[STRICT].send(who, "setBlocked", who, refuses)
        change = self.model.blocked.add if refuses else self.model.blocked.discard
        change((party, STRICT))

    @rule(seconds=st.sampled_from([1, 59, 60, 599, 600, 3_600]))
    def time_passes(self, seconds: int) -> None:
        self.time_passes_by(seconds)

    @precondition(lambda self: any(c.deadline > self.evm.now for c in self.model.channels))
    @rule(pick=st.integers(0, 20), early=st.sampled_from([0, 1]))
    def a_challenge_runs_to_its_last_second(self, pick: int, early: int) -> None:
        """Then both are tried: an answer, and the end."""
        running = [i for i, c in enumerate(self.model.channels) if c.deadline > self.evm.now]
        index = running[pick % len(running)]
        channel, newest = self.model.channels[index], self.history[index][-1]
        self.time_passes_by(channel.deadline - early - self.evm.now)
        self._show("respond", index, pick % 3, State(newest.version + 1, channel.balance_a))
        self._finalise(index, STRANGER)

    # ---------------------------------------------------------------------------------- invariants

    @invariant()
    def the_contract_holds_what_the_model_says(self) -> None:
        for channel, channel_id in zip(self.model.channels, self.ids, strict=True):
            assert self.contract.words("channelOf", channel_id) == channel.word
        for party in PARTIES:
            for token in self.tokens:
                assert self._held(party, token) == self.model.held[party, token]

    @invariant()
    def nobody_else_gains_or_loses(self) -> None:
        for (role, token), amount in self.model.purses.items():
            assert self._purse(role, token) == amount

    @invariant()
    def deposits_are_payouts_and_balances_and_what_is_held(self) -> None:
        for token in self.tokens:
            held = sum(self._held(party, token) for party in PARTIES)
            books = [c.deposit for c in self.model.channels if c.terms.token == token]
            kept = sum(books) + held
            assert self._purse("channels", token) == kept
            assert kept <= self.spent[token]

    @invariant()
    def the_newest_state_that_was_shown_stands(self) -> None:
        for channel, state in zip(self.model.channels, self.shown, strict=True):
            if channel.is_open:
                stands = channel.version, channel.balance_a
                assert stands == (state.version, state.balance_a)

    # ------------------------------------------------------------------------------------ the exit

    def everyone_leaves(self) -> None:
        for index, channel in enumerate(self.model.channels):
            if channel.is_open:
                self._either_party_leaves(index)
        for party, token in [place for place, amount in self.model.held.items() if amount]:
            self.the_token_refuses_a_party(party, False)
            self.somebody_withdraws_what_is_held(party, token)
        self.the_contract_holds_what_the_model_says()
        self.nobody_else_gains_or_loses()
        assert [self._purse("channels", token) for token in self.tokens] == [0, 0]

    def _either_party_leaves(self, index: int) -> None:
        before = deepcopy(self.model)
        with self.evm.undone():
            self._leaves_alone(index, 1)
        self.model = before
        self._leaves_alone(index, 0)

    def _leaves_alone(self, index: int, party: int) -> None:
        """By its newest state, or by the one that stands when that is newer."""
        channel, newest = self.model.channels[index], self.history[index][-1]
        before, due = self._got(index, party), self._due(index, party)
        if not channel.deadline:
            stands = State(channel.version, channel.balance_a)
            state = newest if newest.version > channel.version else stands
            self._show("challenge", index, party, state)
        elif newest.version > channel.version and not channel.is_due(self.evm.now):
            self._show("respond", index, party, newest)
        self.time_passes_by(max(0, self.model.channels[index].deadline - self.evm.now))
        self._finalise(index, TERMS[index].parties[party])
        assert self._got(index, party) - before >= due
        assert not self.model.channels[index].is_open

    def _due(self, index: int, party: int) -> int:
        """What the party holds; by what stands when it has slept through a challenge."""
        channel, newest = self.model.channels[index], self.history[index][-1]
        asleep = channel.is_due(self.evm.now) or newest.version <= channel.version
        balance_a = channel.balance_a if asleep else newest.balance_a
        return balance_a if party == 0 else channel.deposit - balance_a

    def _got(self, index: int, party: int) -> int:
        """Paid, or waiting for the day on which the token pays."""
        role, token = TERMS[index].parties[party], TERMS[index].token
        return self._purse(role, token) + self._held(role, token)


def test_two_way_channels_do_what_their_model_says() -> None:
    run_machine(StateMachine)
