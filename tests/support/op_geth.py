"""op-geth, the node of an OP stack, with this process for its sequencer.

No op-node and no L1: blocks are made over the Engine API, each with the deposit by which an OP
stack tells what L1 costs. `make op-geth` builds the node (Go).
"""

import base64
import hashlib
import hmac
import json
import os
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from corechain.devnet.errors import MissingProgram
from corechain.devnet.process import Command, free_port
from corechain.devnet.servers import LOCALHOST, PROBE_TIMEOUT_S, Server, rpc
from corechain_relayer.submitter.rlp import rlp
from support.processes import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parents[2]
CHAIN_ID = 901
"""Of no known OP stack: an operator names the rules (`RELAYER_CHAIN_RULES=optimism`)."""
GWEI, ETHER = 10**9, 10**18
L1_BLOCK, ORACLE = "42" + "00" * 18 + "15", "42" + "00" * 18 + "0f"
DEPOSITOR = bytes.fromhex("deaddead" + "00" * 14 + "0001")
L1_BASE_FEE, L1_BLOB_FEE = 30 * GWEI, GWEI
BASE_SCALAR, BLOB_SCALAR = 1_368, 810_949
"""Those of OP mainnet."""
L1_LARGEST = 2_000
"""Bytes that the stand-in for the gas price oracle takes any transaction for."""
BUILDS_S = 0.2
FORKS = ["shanghai", "cancun", "regolith", "canyon", "ecotone", "fjord", "granite"]
FINAL_AFTER = 4
BLOCK_S = 1


def _l1_fee(size: int) -> int:
    """Fjord: by bytes that compress to nothing, in parts of 10^12."""
    return size * (BASE_SCALAR * 16 * L1_BASE_FEE + BLOB_SCALAR * L1_BLOB_FEE) // 10**6


def _genesis(accounts: list[str]) -> dict[str, Any]:
    old = "homestead eip150 eip155 eip158 byzantium constantinople petersburg istanbul"
    blocks = [*old.split(), "muirGlacier", "berlin", "london", "arrowGlacier", "grayGlacier"]
    blocks += ["mergeNetsplit", "bedrock"]
    # Its contract returns one number, whatever is asked: the code of the real one is not served.
    returned = "7f" + _l1_fee(L1_LARGEST).to_bytes(32, "big").hex() + "5f5260205ff3"
    storage = {1: L1_BASE_FEE, 3: BASE_SCALAR << 96 | BLOB_SCALAR << 64, 7: L1_BLOB_FEE}
    words = {f"0x{slot:064x}": f"0x{value:064x}" for slot, value in storage.items()}
    return {
        "config": {
            "chainId": CHAIN_ID,
            **{f"{name}Block": 0 for name in blocks},
            **{f"{name}Time": 0 for name in FORKS},
            "terminalTotalDifficulty": 0,
            "optimism": {
                "eip1559Elasticity": 6,
                "eip1559Denominator": 50,
                "eip1559DenominatorCanyon": 250,
            },
        },
        "timestamp": hex(int(time.time())),
        "gasLimit": hex(30_000_000),
        "baseFeePerGas": hex(GWEI),
        "difficulty": "0x0",
        "extraData": "0x",
        "alloc": {
            **{account: {"balance": hex(1_000 * ETHER)} for account in accounts},
            # With code that stops: an account without would be empty, and removed when touched.
            L1_BLOCK: {"balance": "0x0", "code": "0x00", "storage": words},
            ORACLE: {"balance": "0x0", "code": "0x" + returned},
        },
    }


class OpGethServer(Server):
    """`accounts` (hexadecimal, without 0x) are rich from the first block on."""

    name = "op-geth"
    start_limit_s = PATIENCE_S

    def __init__(self, directory: Path | str, accounts: list[str]) -> None:
        super().__init__(directory)
        self.accounts, self.engine_port, self.secret = accounts, free_port(), os.urandom(32)

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self.port}"

    def _prepare(self) -> None:
        import subprocess

        super()._prepare()
        genesis = self.directory / "genesis.json"
        genesis.write_text(json.dumps(_genesis(self.accounts)))
        (self.directory / "jwt").write_text(self.secret.hex())
        made = [find_op_geth(), "--datadir", self.directory / "chain", "init", genesis]
        subprocess.run(made, check=True, capture_output=True, timeout=PATIENCE_S)

    def _command(self) -> Command:
        return Command([
            find_op_geth(), "--datadir", self.directory / "chain", "--networkid", str(CHAIN_ID),
            "--cache", "16", "--ipcdisable", "--nodiscover", "--maxpeers", "0", "--syncmode",
            "full", "--gcmode", "archive", "--rollup.disabletxpoolgossip=true",
            "--http", "--http.port", str(self.port), "--http.api", "eth,net,web3,txpool",
            "--authrpc.port", str(self.engine_port), "--authrpc.jwtsecret", self.directory / "jwt",
        ])  # fmt: skip

    def _is_ready(self) -> bool:
        try:
            return int(rpc(self.url, "eth_chainId", timeout_s=PROBE_TIMEOUT_S), 16) == CHAIN_ID
        except (OSError, ValueError):
            return False


def find_op_geth() -> Path:
    """CORECHAIN_OP_GETH, else what `make op-geth` built. Raises MissingProgram."""
    built = REPOSITORY / ".corechain" / "op-geth" / "op-geth"
    path = Path(os.environ.get("CORECHAIN_OP_GETH") or built)
    if not path.is_file():
        raise MissingProgram(f"op-geth at {path}", "run `make op-geth` (it needs Go)")
    return path


class Sequencer:
    """Makes blocks, one by one, or one a second in a thread (`running`)."""

    def __init__(self, node: OpGethServer) -> None:
        self.node, self.stop = node, threading.Event()
        self.blocks: list[dict[str, Any]] = [self._block("latest")]
        """Of the chain that counts, oldest first: payloads, but the first."""
        self._thread: threading.Thread | None = None

    def _block(self, tag: str) -> dict[str, Any]:
        found = rpc(self.node.url, "eth_getBlockByNumber", tag, False)
        return {"blockHash": found["hash"], "timestamp": found["timestamp"]}

    def engine(self, method: str, *params: Any) -> Any:
        def part(data: bytes) -> str:
            return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

        head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
        signed = f"{head}.{part(json.dumps({'iat': int(time.time())}).encode())}"
        mac = hmac.new(self.node.secret, signed.encode(), hashlib.sha256).digest()
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        asked = urllib.request.Request(
            f"http://{LOCALHOST}:{self.node.engine_port}",
            json.dumps(body).encode(),
            {"content-type": "application/json", "authorization": f"Bearer {signed}.{part(mac)}"},
        )
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            said = json.load(answer)
        assert "error" not in said, said["error"]
        return said["result"]

    def _deposit(self, number: int) -> str:
        """The first transaction of each block: what L1 costs (Ecotone)."""
        scalars = BASE_SCALAR.to_bytes(4, "big") + BLOB_SCALAR.to_bytes(4, "big")
        numbers = bytes(8) + int(time.time()).to_bytes(8, "big") + number.to_bytes(8, "big")
        fees = L1_BASE_FEE.to_bytes(32, "big") + L1_BLOB_FEE.to_bytes(32, "big")
        data = bytes.fromhex("440a5e20") + scalars + numbers + fees + bytes(64)
        source = hashlib.sha256(b"%d" % number + os.urandom(8)).digest()
        to = bytes.fromhex(L1_BLOCK)
        return "0x7e" + rlp([source, DEPOSITOR, to, 0, 0, 1_000_000, 0, data]).hex()

    def block(self) -> None:
        """The next one, of what the pool has."""
        head = self.blocks[-1]
        root = "0x" + "00" * 32
        attributes = {
            "timestamp": hex(max(int(head["timestamp"], 16) + 1, int(time.time()))),
            "prevRandao": "0x" + os.urandom(32).hex(),
            "suggestedFeeRecipient": "0x" + "00" * 19 + "11",
            "withdrawals": [],
            "parentBeaconBlockRoot": root,
            "transactions": [self._deposit(len(self.blocks))],
            "gasLimit": hex(30_000_000),
        }
        begun = self.engine("engine_forkchoiceUpdatedV3", self._choice(), attributes)
        time.sleep(BUILDS_S)  # the first payload that it has is one without the pool
        built = self.engine("engine_getPayloadV3", begun["payloadId"])["executionPayload"]
        taken = self.engine("engine_newPayloadV3", built, [], root)
        assert taken["status"] == "VALID", taken
        self.blocks.append(built)
        self._choose()

    def _choice(self) -> dict[str, str]:
        final = self.blocks[max(0, len(self.blocks) - 1 - FINAL_AFTER)]["blockHash"]
        return {
            "headBlockHash": self.blocks[-1]["blockHash"],
            "safeBlockHash": final,
            "finalizedBlockHash": final,
        }

    def _choose(self) -> None:
        chosen = self.engine("engine_forkchoiceUpdatedV3", self._choice(), None)
        assert chosen["payloadStatus"]["status"] == "VALID", chosen

    def reorg(self, depth: int) -> None:
        """The newest blocks are gone, with a block of another kind in the place of the first."""
        del self.blocks[-depth:]
        self.block()

    def run(self) -> None:
        def forever() -> None:
            while not self.stop.wait(BLOCK_S):
                self.block()

        self._thread = threading.Thread(target=forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.stop.set()
        if self._thread is not None:
            self._thread.join()
