"""One-way channels: a hundred payers with one channel each to one receiver, redeemed before.

Amounts are cumulative, of an 18-decimal token and not round. `redeem_…` is a `redeemGroupsBrief`
sent by an account that is receiver and authorizer. Salts are short as those of the stock client (it
numbers from zero); random ones have a row.
"""

from collections.abc import Sequence

from support.bench import Actor, Bench, Measured
from web3 import Web3
from web3.contract import Contract

from corechain.protocol.channel import ChannelConfig, Voucher, payment_domain
from corechain.protocol.eip712 import Domain
from corechain.protocol.hashing import keccak
from corechain.protocol.redemption import Redemption, pack_redemptions

UNIT = 10**18
DEPOSIT = 100 * UNIT


def _amount(payer: int, round_: int) -> int:
    """Between 10 and 20 tokens in the first round, 20 and 30 in the second, and so on."""
    digest = keccak(f"voucher {payer} {round_}".encode())
    return 10 * round_ * UNIT + int.from_bytes(digest[:8], "big") % (10 * UNIT)


class Payers:
    """What the payers have open, and the vouchers they sign."""

    def __init__(self, bench: Bench, token: Contract, channels: Contract) -> None:
        self.bench, self.token, self.channels = bench, token, channels
        self.receiver = bench.account("receiver")
        contract = bytes.fromhex(channels.address[2:])
        self.domain: Domain = payment_domain(bench.chain_id, contract)

    def payer(self, number: int) -> Actor:
        return self.bench.account(f"payer {number}")

    def config(self, number: int, salt: bytes = bytes(32)) -> ChannelConfig:
        payer, receiver = self.payer(number).raw, self.receiver.raw
        token = bytes.fromhex(self.token.address[2:])
        return ChannelConfig(payer, payer, receiver, receiver, token, 900, salt)

    def open(self, number: int, salt: bytes = bytes(32)) -> int:
        payer = self.payer(number)
        self.bench.send(payer, self.token.functions.mint(payer.address, 10**6 * UNIT))
        self.bench.send(payer, self.token.functions.approve(self.channels.address, 2**256 - 1))
        return self.deposit(number, salt)

    def deposit(self, number: int, salt: bytes = bytes(32)) -> int:
        terms = as_tuple(self.config(number, salt))
        return self.bench.send(self.payer(number), self.channels.functions.open(terms, DEPOSIT))

    def voucher(self, number: int, round_: int, salt: bytes = bytes(32)) -> Redemption:
        config, amount = self.config(number, salt), _amount(number, round_)
        digest = Voucher(config.channel_id(self.domain), amount).digest(self.domain)
        return Redemption(config, amount, self.payer(number).key.sign(digest))

    def redeem(self, vouchers: Sequence[Redemption]) -> int:
        packed = pack_redemptions(vouchers, self.receiver.raw)
        data = keccak(b"redeemGroupsBrief()")[:4] + packed
        return self.bench.send_raw(self.receiver, self.channels.address, data)


def as_tuple(config: ChannelConfig) -> tuple[object, ...]:
    parties = (
        config.payer,
        config.payer_authorizer,
        config.receiver,
        config.receiver_authorizer,
        config.token,
    )
    named = (Web3.to_checksum_address(party) for party in parties)
    return (*named, config.withdraw_delay_s, config.salt)


def measure(bench: Bench) -> Measured:
    token, channels = (
        bench.deploy("OrdinaryToken"),
        bench.deploy("PaymentChannels", "0x" + "00" * 20),
    )
    payers = Payers(bench, token, channels)
    everybody = range(100)
    for number in everybody:
        payers.open(number)
    payers.redeem([payers.voucher(number, 1) for number in everybody])
    return {
        "redeem_one": payers.redeem([payers.voucher(0, 2)]),
        "redeem_ten_each": payers.redeem([payers.voucher(n, 3) for n in range(10)]) // 10,
        "redeem_hundred_each": payers.redeem([payers.voucher(n, 4) for n in everybody]) // 100,
    }
