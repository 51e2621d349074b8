"""Settings of keys that are elsewhere: one a role, in the place of its private key."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from corechain.protocol.errors import InvalidValue
from corechain.protocol.values import address
from corechain.service.settings import ServiceSettings, has_place

KMS = "aws-kms:"
_PLACE = re.compile(r"(https?://[^\s#]+|aws-kms:[^\s#]+)#0x([0-9a-fA-F]{40})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key is: the URL of a web3signer, or `aws-kms:` with the key's id; and its address."""

    where: str
    address: bytes


def place_of(value: SecretStr) -> Place:
    """Raises ValueError."""
    found = _PLACE.fullmatch(value.get_secret_value())
    if found is None or not (found[1].startswith(KMS) or has_place(found[1])):
        raise ValueError("is neither http(s)://SIGNER[:PORT]#0xADDRESS nor aws-kms:KEY#0xADDRESS")
    try:
        return Place(found[1], address("its address", found[2]))
    except InvalidValue as error:
        raise ValueError(str(error)) from None


def _place(value: SecretStr) -> SecretStr:
    place_of(value)
    return value


SignerPlace = Annotated[SecretStr, AfterValidator(_place)]
_MEANING = (
    "signs for {} in the place of its KEY: http(s)://HOST:PORT#0xADDRESS of a web3signer, or "
    "aws-kms:KEY#0xADDRESS (needs boto3)"
)


class SignerSettings(ServiceSettings):
    """Part of the relayer's settings."""

    submitter_signer: SignerPlace | None = Field(None, description=_MEANING.format("the submitter"))
    proposer_signer: SignerPlace | None = Field(
        None, description=_MEANING.format("`propose-rewards`")
    )
    watchtower_signer: SignerPlace | None = Field(
        None, description=_MEANING.format("the watchtower")
    )
    guard_signer: SignerPlace | None = Field(None, description=_MEANING.format("the guard"))
    challenger_signer: SignerPlace | None = Field(
        None, description=_MEANING.format("the challenger")
    )
    guardian_signer: SignerPlace | None = Field(
        None, description=_MEANING.format("CoreToken's guardian")
    )
    signer_timeout_s: float = Field(
        5.0, gt=0, le=120, description="time in which such a signer has to answer"
    )
