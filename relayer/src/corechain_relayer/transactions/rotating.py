"""`corechain relayer rotate-key`: opens what a rotation needs, runs it, closes everything."""

import asyncio
import re
from typing import Any

from corechain.deployment import Deployment
from corechain.protocol.errors import CoreChainError
from corechain.service.command import FAILED, WRONG_SETTING, refuse
from corechain.service.database import connect, hang_up
from corechain.service.settings import InvalidSetting
from corechain_relayer.journal_settings import OperatorSettings
from corechain_relayer.transactions.book import Book
from corechain_relayer.transactions.rotation import Rotation

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)


def rotate(
    settings: OperatorSettings,
    deployment: Deployment,
    lane: int,
    to: str,
    *,
    pays: bool,
    releases: bool = False,
) -> dict[str, Any]:
    """As `Rotation.run`; exits with one sentence where it fails."""
    if settings.admin_key is None:
        refuse(InvalidSetting("RELAYER_ADMIN_KEY is not set"), WRONG_SETTING)
    if not _ADDRESS.fullmatch(to) or not int(to, 16):
        refuse(InvalidSetting("--to takes an address: 0x and 40 digits"), WRONG_SETTING)
    from corechain.account import account_from_key
    from corechain.service.agreed_chain import chain_of

    admin = account_from_key(settings.admin_key.get_secret_value())
    chain = chain_of(settings, deployment)

    async def main() -> dict[str, Any]:
        connection = await connect(settings.session_url)
        try:
            parts = (chain, admin, Book(connection), lane, bytes.fromhex(to[2:]), pays, releases)
            return await Rotation(*parts).run()
        finally:
            await hang_up(connection)
            chain.close()

    try:
        return asyncio.run(main())
    except CoreChainError as error:
        refuse(error, FAILED)
