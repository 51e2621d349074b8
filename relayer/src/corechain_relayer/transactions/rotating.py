"""`corechain relayer rotate-key`: opens what a rotation needs, runs it, closes everything."""

import asyncio
from contextlib import closing
from typing import Any

from corechain.deployment import Deployment
from corechain.protocol.errors import CoreChainError, InvalidValue
from corechain.protocol.values import address
from corechain.service.command import FAILED, WRONG_SETTING, refuse
from corechain.service.database import connect, hang_up
from corechain.service.settings import InvalidSetting
from corechain_relayer.journal_settings import OperatorSettings
from corechain_relayer.transactions.book import Book
from corechain_relayer.transactions.rotation import Rotation


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
    try:
        new = address("--to", to)
    except InvalidValue as error:
        refuse(InvalidSetting(str(error)), WRONG_SETTING)
    if not any(new):
        refuse(InvalidSetting("--to takes an address, and not that of nobody"), WRONG_SETTING)
    from corechain.account import account_from_key
    from corechain.service.agreed_chain import chain_of

    admin = account_from_key(settings.admin_key.get_secret_value())
    chain = chain_of(settings, deployment)

    async def main() -> dict[str, Any]:
        with closing(chain):
            connection = await connect(settings.session_url)
            try:
                parts = (chain, admin, Book(connection), lane, new, pays, releases)
                return await Rotation(*parts).run()
            finally:
                await hang_up(connection)

    try:
        return asyncio.run(main())
    except CoreChainError as error:
        refuse(error, FAILED)
