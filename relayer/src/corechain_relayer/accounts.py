"""The accounts that the roles sign with, as the settings say: a key of ours, or one elsewhere."""

from functools import partial

from pydantic import SecretStr

from corechain.service.named_url import NamedUrl
from corechain.service.settings import InvalidSetting
from corechain_relayer.local import PREFIX
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.custody import (
    Custody,
    KeyManagement,
    KmsClient,
    RemoteSigner,
    Web3Signer,
)
from corechain_relayer.submitter.signer import Account, Signer
from corechain_relayer.submitter.signer_settings import KMS, SignerSettings, place_of

SUBMITTER, PROPOSER = "submitter", "proposer"
WATCHTOWER, GUARD = "watchtower", "guard"
CHALLENGER, GUARDIAN = "challenger", "guardian"


def account_of(
    settings: SignerSettings, role: str, chain_id: int, metrics: Metrics
) -> Account | None:
    """None where the role has no key. Raises InvalidSetting for one that has two."""
    key, elsewhere = getattr(settings, f"{role}_key"), getattr(settings, f"{role}_signer")
    name = f"{PREFIX}{role.upper()}"
    if key is not None and elsewhere is not None:
        raise InvalidSetting(f"{name}_KEY and {name}_SIGNER are both set")
    if key is not None:
        return Signer.of(key.get_secret_value(), chain_id)
    if elsewhere is None:
        return None
    place = place_of(elsewhere)

    def again() -> str:
        """With another password, say; never of another key: what is under way is signed by this."""
        try:
            now = place_of(SecretStr(settings.read_again(f"{role}_signer")))
        except ValueError:
            return place.where
        kinds = {one.where.partition(":")[0] for one in (place, now)}
        return now.where if now.address == place.address and len(kinds) == 1 else place.where

    def failed(kind: str) -> None:
        metrics.signer_failures.labels(role, kind).inc()

    where = NamedUrl(place.where, f"{name}_SIGNER", again)
    custody = _custody(where, place.address, settings.signer_timeout_s, name)
    return RemoteSigner(custody, place.address, chain_id, failed)


def has_key(settings: SignerSettings, role: str) -> bool:
    """Whether a role can sign, by a key of its own or one elsewhere."""
    found = getattr(settings, f"{role}_key"), getattr(settings, f"{role}_signer")
    return any(value is not None for value in found)


def required_account(
    settings: SignerSettings, role: str, chain_id: int, metrics: Metrics
) -> Account:
    """Raises InvalidSetting also where the role has no key."""
    found = account_of(settings, role, chain_id, metrics)
    if found is None:
        raise InvalidSetting(f"{PREFIX}{role.upper()}_KEY is not set")
    return found


def _custody(where: str, address: bytes, timeout_s: float, name: str) -> Custody:
    if where.startswith(KMS):
        client = partial(_kms, name, timeout_s)
        return KeyManagement(client(), where.removeprefix(KMS), timeout_s, client)
    return Web3Signer(where, address, timeout_s)


def _kms(name: str, timeout_s: float) -> KmsClient:
    """AWS's own client, with the credentials and the region of the environment. It gives up when we
    do: its own patience is a minute, and four attempts."""
    try:
        import boto3  # type: ignore[import-not-found,import-untyped,unused-ignore]
        from botocore.config import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
            Config,
        )
    except ModuleNotFoundError:
        raise InvalidSetting(
            f"{name}_SIGNER needs a package that is not there: pip install boto3"
        ) from None
    try:
        # A session of its own: boto3's common one keeps the credentials that it has read once.
        patience = {"connect_timeout": timeout_s, "read_timeout": timeout_s}
        config = Config(**patience, retries={"mode": "standard", "total_max_attempts": 2})
        client: KmsClient = boto3.session.Session().client("kms", config=config)
    except Exception as error:  # botocore's: no region, no such profile
        raise InvalidSetting(f"{name}_SIGNER: {error}") from error
    return client
