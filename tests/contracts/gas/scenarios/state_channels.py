"""Two-way channels: party A deposits 100, tops up 50; both parties already hold the token."""

from support.bench import Bench, Measured

from corechain.protocol.channel import ChannelState, StateChannel, close_digest, state_domain

UNIT = 10**18


def measure(bench: Bench) -> Measured:
    party_a, party_b = bench.account("party A"), bench.account("party B")
    token, channels = bench.deploy("OrdinaryToken"), bench.deploy("StateChannels")
    domain = state_domain(bench.chain_id, bytes.fromhex(channels.address[2:]))
    for holder in (party_a, party_b):
        bench.send(holder, token.functions.mint(holder.address, 10**6 * UNIT))
        bench.send(holder, token.functions.approve(channels.address, 2**256 - 1))

    def terms(number: int) -> tuple[object, ...]:
        salt = bytes(31) + bytes([number])
        return party_a.address, party_b.address, token.address, 3600, salt

    def channel_id(number: int) -> bytes:
        salt = bytes(31) + bytes([number])
        model = StateChannel(party_a.raw, party_b.raw, bytes.fromhex(token.address[2:]), 3600, salt)
        return model.channel_id(bench.chain_id, bytes.fromhex(channels.address[2:]))

    def state(number: int, version: int, balance: int) -> tuple[object, ...]:
        digest = ChannelState(channel_id(number), version, balance).digest(domain)
        return version, balance, b"", party_b.key.sign(digest)

    call = channels.functions
    bench.send(party_a, call.open(terms(0), UNIT, 0))
    measured = {
        "channel_open": bench.send(party_a, call.open(terms(1), 100 * UNIT, 0)),
        "channel_top_up": bench.send(party_a, call.topUp(terms(1), 50 * UNIT)),
    }
    digest = close_digest(domain, channel_id(1), 110 * UNIT)
    closing = call.close(terms(1), 110 * UNIT, b"", party_b.key.sign(digest))
    measured["channel_close"] = bench.send(party_a, closing)
    bench.send(party_a, call.open(terms(2), 150 * UNIT, 0))
    challenge = call.challenge(terms(2), state(2, 3, 140 * UNIT))
    measured["channel_challenge"] = bench.send(party_a, challenge)
    digest = ChannelState(channel_id(2), 7, 110 * UNIT).digest(domain)
    newer = (7, 110 * UNIT, party_a.key.sign(digest), b"")
    measured["channel_respond"] = bench.send(party_b, call.respond(terms(2), newer))
    bench.pass_time(3601)
    measured["channel_finalise"] = bench.send(party_b, call.finalise(terms(2)))
    return measured
