"""Rewards and their token, used in any order, against a model.

given five owners, a proposer who may be greedy, a guardian who may sleep
  when anybody does anything, with rows that are stale, forged or of another root among good ones
    it does what the model does, or is refused by the name and the values that the model says
    a claim never pays twice, and a vetoed root never pays
    no more was minted than the cap for each epoch that counts
    balances add up to the supply
  when everybody leaves
    each owner gets, alone, what the newest root gives it, as far as the cap goes
"""

from collections.abc import Mapping

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from reward_model import GUARDIAN, PROPOSER, Authorisation, Row
from reward_stage import CAP, EVERYBODY, OWNERS, RELAYER, STRANGER, SUPPLY, WINDOW_S, RewardStage
from support.evm import ENDLESS
from support.oracle import run_machine

PEOPLE = st.sampled_from(EVERYBODY)
USUALLY = st.sampled_from([True] * 7 + [False])
_SOME = st.integers(1, 2_000)
AMOUNTS = st.one_of(_SOME, _SOME, _SOME, st.sampled_from([0, SUPPLY, 10 * CAP, 2**128]))
SHARES = st.lists(st.integers(0, CAP // len(OWNERS)), min_size=5, max_size=5)
GREED = st.sampled_from([1] * 6 + [0, 2, 3, 99])
"""What a proposer gives: what was earned, less than before, or more than may be."""
_FLAW = st.sampled_from(
    ["none"] * 8 + ["forged", "amount", "another's", "older root", "vetoed root", "waiting root"]
)


class RewardMachine(RewardStage):
    def __init__(self) -> None:
        super().__init__()
        self.trees: list[Mapping[str, int]] = []
        """Of all roots that were proposed and not vetoed, oldest first."""
        self.vetoed: list[Mapping[str, int]] = []
        self.earned = dict.fromkeys(OWNERS, 0)
        self.papers: list[Authorisation] = []

    # --------------------------------------------------------------------------------------- roots

    def _grown(self, shares: list[int], greed: int) -> dict[str, int]:
        for owner, share in zip(OWNERS, shares, strict=True):
            self.earned[owner] += share
        return {owner: earned * greed for owner, earned in self.earned.items()}

    def _propose(self, amounts: Mapping[str, int] | None, **changes) -> None:
        given = {"sender": PROPOSER, "epoch": self.model.next_epoch, "emission": CAP} | changes
        words = given["sender"], given["epoch"], amounts, given["emission"]
        if self.both(lambda model: model.propose(*words), self._send_proposal(*words)):
            self.trees.append(amounts)

    @initialize(shares=SHARES)
    def the_first_root_counts(self, shares: list[int]) -> None:
        self._propose(self._grown(shares, 1))
        self.time_passes(WINDOW_S)

    @rule(shares=SHARES, greed=GREED)
    def the_proposer_proposes(self, shares: list[int], greed: int) -> None:
        self._propose(self._grown(shares, greed))

    @rule(shares=SHARES, sleeps=USUALLY)
    def an_epoch_goes_by(self, shares: list[int], sleeps: bool) -> None:
        """To the last second of the window, or beyond it."""
        self._propose(self._grown(shares, 1))
        self.time_passes(WINDOW_S - (0 if sleeps else 1))

    @rule(sender=PEOPLE, epoch=st.integers(0, 9), emission=st.sampled_from([CAP, CAP + 1]))
    def somebody_proposes_what_is_no_root(self, sender: str, epoch: int, emission: int) -> None:
        self._propose(dict(self.earned), sender=sender, emission=CAP + 1)
        self._propose(dict(self.earned), sender=sender if sender != PROPOSER else GUARDIAN)
        self._propose(None, emission=emission)
        for other in {epoch, 1} - {self.model.next_epoch}:
            self._propose(dict(self.earned), epoch=other)

    @rule(sender=PEOPLE, honest=USUALLY, off=st.sampled_from([0, 0, 0, 1, -1]))
    def the_guardian_vetoes(self, sender: str, honest: bool, off: int) -> None:
        who, epoch = GUARDIAN if honest else sender, max(0, self.model.next_epoch - 1 + off)
        if self.both(lambda model: model.veto(who, epoch), self._send_veto(who, epoch)):
            self.vetoed.append(self.trees.pop())

    @rule(seconds=st.sampled_from([1, WINDOW_S - 1, WINDOW_S]))
    def time_passes(self, seconds: int) -> None:
        self.evm.pass_time(seconds)
        self.model.pass_to(self.evm.now)

    # -------------------------------------------------------------------------------------- claims

    def _row(self, owner: str, flaw: str = "none") -> Row:
        newest = self.model.newest
        tree = newest.amounts if newest else self.trees[-1]
        if flaw == "older root":
            tree = self.trees[max(0, len(self.trees) - 2)]
        if flaw == "vetoed root" and self.vetoed:
            tree = self.vetoed[-1]
        if flaw == "waiting root":
            tree = self.trees[-1]
        other = OWNERS[(OWNERS.index(owner) + 1) % len(OWNERS)]
        amount = tree[other if flaw == "another's" else owner] + (flaw == "amount")
        return Row(owner, amount, tree, flaw == "forged")

    @rule(sender=PEOPLE, owner=st.sampled_from(OWNERS), flaw=_FLAW)
    def somebody_claims_for_an_owner(self, sender: str, owner: str, flaw: str) -> None:
        row = self._row(owner, flaw)
        self.both(lambda model: model.claim(row), self._send_claim(sender, row))

    @rule(
        owners=st.lists(st.sampled_from(OWNERS), min_size=1, max_size=7) | st.just(OWNERS),
        flaws=st.lists(_FLAW, min_size=7, max_size=7),
        minimum=st.sampled_from([0, 1, 200, 5_000]),
    )
    def a_relayer_claims_for_many(self, owners, flaws, minimum) -> None:
        rows = [self._row(owner, flaw) for owner, flaw in zip(owners, flaws, strict=False)]
        send = self._send_many(RELAYER, rows, minimum)
        self.both(lambda model: model.claim_many(RELAYER, rows, minimum), send)

    # ----------------------------------------------------------------------------------- transfers

    @rule(sender=PEOPLE, to=st.sampled_from([*EVERYBODY, "nobody"]), amount=AMOUNTS)
    def somebody_transfers(self, sender: str, to: str, amount: int) -> None:
        amount = min(amount, self.model.balances[sender]) if amount < SUPPLY else amount
        send = self._send(sender, "transfer", self.addresses[to], amount)
        self.both(lambda model: model.transfer(sender, to, amount), send)

    @rule(
        owner=PEOPLE,
        spender=PEOPLE,
        amount=st.one_of(AMOUNTS, st.just(ENDLESS)),
        honest=USUALLY,
        off=st.sampled_from([0] * 5 + [1]),
        seconds=st.sampled_from([0, 5, 5, 5, -1]),
    )
    def somebody_permits(self, owner, spender, amount, honest, off, seconds) -> None:
        nonce, hand = self.model.permits[owner] + off, owner if honest else STRANGER
        words = owner, spender, amount, nonce, self.evm.now + seconds, hand
        self.both(lambda model: model.permit(*words), self._send_permit(*words))

    @rule(spender=PEOPLE, payer=PEOPLE, to=PEOPLE, amount=AMOUNTS, pick=st.integers(0, 20))
    def somebody_spends_an_allowance(self, spender, payer, to, amount, pick) -> None:
        given = sorted(pair for pair, allowed in self.model.allowances.items() if allowed)
        if given and pick:
            payer, spender = given[pick % len(given)]
        places = self.addresses[payer], self.addresses[to]
        send = self._send(spender, "transferFrom", *places, amount)
        self.both(lambda model: model.transfer_from(spender, payer, to, amount), send)

    @rule(
        payer=PEOPLE,
        to=PEOPLE,
        amount=AMOUNTS,
        times=st.sampled_from([(-1, 99)] * 5 + [(0, 99), (-9, 0)]),
        nonce=st.integers(0, 2),
        honest=USUALLY,
    )
    def somebody_authorises(self, payer, to, amount, times, nonce, honest) -> None:
        """Nothing is sent yet: papers are used late, twice, or after they were cancelled."""
        after, before = (self.evm.now + seconds for seconds in times)
        hand = payer if honest else STRANGER
        self.papers.append(Authorisation(payer, to, amount, after, before, nonce, hand))

    @rule(
        pick=st.integers(0, 50),
        cancel=st.sampled_from([False, False, False, True]),
        whole=st.booleans(),
        times=st.integers(1, 2),
    )
    def a_stranger_brings_a_paper(self, pick: int, cancel: bool, whole: bool, times: int) -> None:
        if not self.papers:
            return
        paper = self.papers[-1 - pick % min(4, len(self.papers))]
        send = (self._send_cancellation if cancel else self._send_transfer)(paper, whole)
        for _ in range(times):
            self.both(lambda model: (model.cancel if cancel else model.use)(paper), send)

    # ---------------------------------------------------------------------------------- invariants

    @invariant()
    def the_contract_holds_what_the_model_says(self) -> None:
        for role in EVERYBODY:
            who = self.addresses[role]
            assert self.contract.words("balanceOf", who) == (self.model.balances[role],)
            assert self.contract.words("claimedOf", who) == (self.model.claimed[role],)
            assert self.contract.words("nonces", who) == (self.model.permits[role],)
        for (owner, spender), amount in self.model.allowances.items():
            places = self.addresses[owner], self.addresses[spender]
            assert self.contract.words("allowance", *places) == (amount,)

    @invariant()
    def the_newest_root_that_left_its_window_counts(self) -> None:
        waiting, newest = self.model.waiting, self.model.newest
        assert self.contract.words("activeRoot")[0] == (newest.epoch if newest else 0)
        assert self.contract.words("pendingRoot")[0] == (waiting.epoch if waiting else 0)

    @invariant()
    def balances_add_up_to_the_supply(self) -> None:
        (supply,) = self.contract.words("totalSupply")
        held = [self.contract.words("balanceOf", self.addresses[role])[0] for role in EVERYBODY]
        assert sum(held) == supply

    @invariant()
    def a_claim_never_pays_twice(self) -> None:
        """All that was minted is what owners have claimed in total."""
        claimed = [self.contract.words("claimedOf", self.addresses[owner])[0] for owner in OWNERS]
        assert self.contract.words("emitted") == (sum(claimed),)

    @invariant()
    def no_more_is_minted_than_the_cap_of_each_epoch(self) -> None:
        newest = self.model.newest
        assert self.contract.words("emitted")[0] <= CAP * (newest.epoch if newest else 0)

    @invariant()
    def a_vetoed_root_never_pays(self) -> None:
        for owner in OWNERS:
            (claimed,) = self.contract.words("claimedOf", self.addresses[owner])
            assert claimed in {0, *(tree[owner] for tree in self.trees)}

    # ------------------------------------------------------------------------------------ the exit

    def everyone_leaves(self) -> None:
        for owner in OWNERS:
            self._bad_rows_pay_nothing(owner)
            self._claims_alone(owner)
        self._greed_ends_at_the_cap()
        self.the_contract_holds_what_the_model_says()
        self.a_claim_never_pays_twice()
        self.no_more_is_minted_than_the_cap_of_each_epoch()

    def _bad_rows_pay_nothing(self, owner: str) -> None:
        for flaw in ("forged", "amount", "another's", "older root", "vetoed root", "waiting root"):
            self.somebody_claims_for_an_owner(STRANGER, owner, flaw)
            self.a_relayer_claims_for_many([owner], [flaw], 0)

    def _greed_ends_at_the_cap(self) -> None:
        """More than half of what is left for each owner: one call of all pays the first alone."""
        self.time_passes(WINDOW_S)
        left = CAP * self.model.next_epoch - self.model.minted
        self._propose({o: self.model.claimed[o] + left // 2 + 1 for o in OWNERS})
        self.time_passes(WINDOW_S)
        paid = self.model.minted
        self.a_relayer_claims_for_many(OWNERS, ["none"] * len(OWNERS), 0)
        assert self.model.minted - paid == left // 2 + 1

    def _claims_alone(self, owner: str) -> None:
        newest, who = self.model.newest, self.addresses[owner]
        if newest is None:
            return
        (before,) = self.contract.words("balanceOf", who)
        due = max(0, newest.amounts[owner] - self.model.claimed[owner])
        within = self.model.minted + due <= CAP * newest.epoch
        self.somebody_claims_for_an_owner(owner, owner, "none")
        assert self.contract.words("balanceOf", who) == (before + (due if within else 0),)


def test_rewards_and_their_token_do_what_their_model_says() -> None:
    run_machine(RewardMachine)
