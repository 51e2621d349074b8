"""A small asynchronous JSON-RPC client. No retries here: each caller knows what a retry may do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from corechain.service.errors import NodeRefused, NodeUnavailable


@dataclass(frozen=True, slots=True)
class Log:
    """One event log of a contract."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: bytes
    transaction: bytes
    index: int


@dataclass(frozen=True, slots=True)
class Block:
    """What services need of a block header. `base_fee` in wei (0 before EIP-1559)."""

    number: int
    hash: bytes
    parent: bytes
    timestamp: int
    base_fee: int


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def to_hex(data: bytes) -> str:
    return "0x" + data.hex()


def parse_block(raw: dict[str, Any]) -> Block:
    return Block(
        int(raw["number"], 16),
        unhex(raw["hash"]),
        unhex(raw["parentHash"]),
        int(raw["timestamp"], 16),
        int(raw.get("baseFeePerGas") or "0x0", 16),
    )


def parse_log(raw: dict[str, Any]) -> Log:
    return Log(
        unhex(raw["address"]),
        tuple(unhex(topic) for topic in raw["topics"]),
        unhex(raw["data"]),
        int(raw["blockNumber"], 16),
        unhex(raw["blockHash"]),
        unhex(raw["transactionHash"]),
        int(raw["logIndex"], 16),
    )


def _revert_data(error: dict[str, Any]) -> str | None:
    data = error.get("data")
    return data if isinstance(data, str) else None


class Rpc:
    """JSON-RPC over one keep-alive HTTP client."""

    def __init__(self, url: str, timeout_s: float = 10.0) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=timeout_s)
        self._id = 0

    async def close(self) -> None:
        await self._client.aclose()

    async def call(self, method: str, *params: Any) -> Any:
        """The result. Raises NodeUnavailable, or NodeRefused with what the node said."""
        self._id += 1
        request = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        answer = await self._post(method, request)
        if not isinstance(answer, dict) or answer.get("id") != request["id"]:
            raise NodeUnavailable(f"{method}: the node answered another request")
        error = answer.get("error")
        if error:
            code, message = int(error.get("code", 0)), str(error.get("message", ""))
            raise NodeRefused(method, code, message, _revert_data(error))
        return answer.get("result")

    async def _post(self, method: str, request: dict[str, Any]) -> Any:
        body = msgspec.json.encode(request)
        try:
            response = await self._client.post(
                "", content=body, headers={"content-type": "application/json"}
            )
            return msgspec.json.decode(response.content)
        except httpx.HTTPError as error:
            raise NodeUnavailable(f"{method}: {type(error).__name__} {error}") from error
        except msgspec.DecodeError as error:
            raise NodeUnavailable(f"{method}: the answer is not JSON") from error

    async def chain_id(self) -> int:
        return int(await self.call("eth_chainId"), 16)

    async def block(self, tag: int | str) -> Block | None:
        """A block by number or tag; None when the node has none."""
        name = hex(tag) if isinstance(tag, int) else tag
        raw = await self.call("eth_getBlockByNumber", name, False)
        return None if raw is None else parse_block(raw)

    async def head(self) -> Block:
        block = await self.block("latest")
        if block is None:
            raise NodeUnavailable("the node has no latest block")
        return block

    async def logs(
        self, addresses: Sequence[bytes], topics: Sequence[Any], first: int, last: int
    ) -> list[Log]:
        """Logs of some contracts in the blocks first to last; topics are hex, lists or None."""
        query = {
            "address": [to_hex(address) for address in addresses],
            "topics": list(topics),
            "fromBlock": hex(first),
            "toBlock": hex(last),
        }
        return [parse_log(raw) for raw in await self.call("eth_getLogs", query)]

    async def eth_call(self, to: bytes, data: bytes) -> bytes:
        call = {"to": to_hex(to), "data": to_hex(data)}
        return unhex(await self.call("eth_call", call, "latest"))


async def logs_in_ranges(
    rpc: Rpc, addresses: Sequence[bytes], topics: Sequence[Any], first: int, last: int, step: int
) -> list[Log]:
    """Logs over a long range, asked for in pieces of `step` blocks, as providers demand."""
    found: list[Log] = []
    for start in range(first, last + 1, step):
        found += await rpc.logs(addresses, topics, start, min(start + step - 1, last))
    return found
