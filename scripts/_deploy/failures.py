"""What goes wrong outside of us, in one sentence that says what to do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from ape.cli import ConnectedProviderCommand
from ape.exceptions import (
    AccountsError,
    ApeException,
    ConfigError,
    NetworkMismatchError,
    ProviderError,
    TransactionError,
)
from requests.exceptions import RequestException
from web3.exceptions import Web3Exception

from corechain.rpc_errors import RpcFailure, classify_rpc_failure

GO_ON = "What is deployed stays, and is in the manifest: run the same command again."
NO_FUNDS = ("exceeds account balance", "not have enough to cover", "gas required exceeds allowance")
"""Of Ape, which looks at the balance first, and of nodes that estimate with what can be paid."""
FOREIGN = (ApeException, Web3Exception, RequestException, OSError)


class DeployCommand(ConnectedProviderCommand):
    """Says what is wrong with the network, too: it is connected before the command begins."""

    def invoke(self, ctx: click.Context) -> Any:
        with in_one_sentence():
            return super().invoke(ctx)


@contextmanager
def in_one_sentence() -> Iterator[None]:
    """Raises click.ClickException instead of what Ape, web3 and the connection raise."""
    try:
        yield
    except click.ClickException:
        raise
    except FOREIGN as error:
        if os.environ.get("DEPLOY_TRACEBACK"):
            raise
        raise click.ClickException(explain(error)) from error


def explain(error: Exception) -> str:
    """One sentence about what happened, one about what to do."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, NetworkMismatchError):
        return f"Wrong network. {text} Correct the node's address or --network."
    if "invalid chain id" in text.lower():
        return f"Wrong network: {text}. Ape signs for another chain than the node's: name it."
    if isinstance(error, ConfigError) and "$" in text:
        variable = text.rpartition("$")[2]
        return f"No node is named: export {variable}=https://… (the address of a node), run again."
    if _is_lack_of_funds(text):
        return f"The account cannot pay: {text}. Send it funds on this chain. {GO_ON}"
    if isinstance(error, TransactionError):
        return f"A transaction failed: {text}. {GO_ON}"
    if isinstance(error, AccountsError):
        return f"The account did not sign: {text}. DEPLOY_PASSPHRASE must be its passphrase."
    if isinstance(error, (ProviderError, RequestException, OSError, Web3Exception)):
        return f"The node did not do what it was asked: {text}. Check its address. {GO_ON}"
    return f"{type(error).__name__}: {text}"


def _is_lack_of_funds(text: str) -> bool:
    early = any(words in text.lower() for words in NO_FUNDS)
    return early or classify_rpc_failure(text) is RpcFailure.INSUFFICIENT_FUNDS
