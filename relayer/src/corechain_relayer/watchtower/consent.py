"""Whether both parties of a channel consent to a state: their keys, or else their contracts."""

from corechain.protocol.eip712 import Domain
from corechain.protocol.errors import InvalidSignature, ProtocolError
from corechain.protocol.keys import recover_signer
from corechain.service.errors import NodeRefused
from corechain.service.rpc import Questions, to_hex
from corechain.service.words import octets
from corechain_relayer.calldata import selector
from corechain_relayer.submitter.memory import WOULD_REVERT
from corechain_relayer.submitter.node import refusal_of
from corechain_relayer.watchtower.channels import BRIEF_SIGNATURE, Channel, Evidence

IS_VALID = selector("isValidSignature(bytes32,bytes)")
JUDGE_GAS = 1_000_000
"""Gas for a contract's judgement: three times what wallets with ten owners take. More than that
could make an answer too dear to be sent."""


async def require_consent(
    rpc: Questions, evidence: Evidence, channel: Channel, domain: Domain
) -> None:
    """Raises InvalidSignature, HighS; NodeUnavailable and NodeRefused where a party's contract
    (ERC-1271) cannot be asked. As the channels' contract does it: the key is asked first."""
    digest = evidence.state.digest(domain)
    signed = (
        (channel.terms.party_a, evidence.signature_a),
        (channel.terms.party_b, evidence.signature_b),
    )
    for party, signature in signed:
        refusal = _refusal_of_key(party, digest, signature)
        if refusal is not None and not await _contract_agrees(rpc, party, digest, signature):
            raise refusal


def _refusal_of_key(party: bytes, digest: bytes, signature: bytes) -> ProtocolError | None:
    """None when the party's key made the signature."""
    unsigned = InvalidSignature("the state is not signed by both parties of the channel")
    if len(signature) != BRIEF_SIGNATURE:
        return unsigned
    try:
        return None if recover_signer(digest, signature) == party else unsigned
    except ProtocolError as error:
        return error


async def _contract_agrees(rpc: Questions, party: bytes, digest: bytes, signature: bytes) -> bool:
    """An account without code answers nothing at all."""
    from eth_abi.abi import encode

    data = IS_VALID + encode(["bytes32", "bytes"], [digest, signature])
    call = {"to": to_hex(party), "data": to_hex(data), "gas": hex(JUDGE_GAS)}
    try:
        raw = await rpc.call("eth_call", call, "latest")
    except NodeRefused as error:
        if refusal_of(error) == WOULD_REVERT:
            return False
        raise
    return octets(raw, "the result of a call")[:32] == IS_VALID.ljust(32, b"\0")
