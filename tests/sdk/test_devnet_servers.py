"""The embedded servers: they start, keep what they acknowledged, and leave no process behind."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import asyncpg
import psutil
import pytest
from support.processes import eventually, family, mentioning, survivors
from support.valkey import command

from corechain.devnet.errors import DirectoryInUse, PortTaken, ServerDied, ServerNotStarted
from corechain.devnet.postgres import PostgresServer
from corechain.devnet.process import is_free
from corechain.devnet.servers import AnvilServer, Server, ValkeyServer, rpc

KINDS = [PostgresServer, ValkeyServer, AnvilServer]
ACCOUNT = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


async def execute(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def pay(url: str) -> str:
    """A transaction that is in a block; its hash."""
    call = {"from": ACCOUNT, "to": ACCOUNT, "value": "0x1"}
    sent = str(rpc(url, "eth_sendTransaction", call))
    assert eventually(lambda: rpc(url, "eth_getTransactionReceipt", sent) is not None)
    return sent


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_server_that_ends_leaves_no_process_and_frees_its_port(
    kind: type[Server], end: str, tmp_path: Path
) -> None:
    with kind(tmp_path / "server") as server:
        members = family(server.pid)
        assert not is_free(server.port)
        getattr(server, end)()
        assert survivors(members) == []
        assert is_free(server.port)
        assert not server.running


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_started_again_keeps_its_address(
    kind: type[Server], tmp_path: Path
) -> None:
    with kind(tmp_path / "server") as server:
        url = server.url
        server.kill()
        assert server.start().url == url
        pid = server.pid
        assert server.start().pid == pid, "a running server is not started twice"


async def test_postgres_keeps_a_committed_row_through_a_kill(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "postgres") as server:
        url = server.create_database("kept")
        await execute(url, "CREATE TABLE rows AS SELECT 42 AS value")
        server.kill()
        server.start()
        assert await execute(url, "SELECT value FROM rows") == 42


def test_a_start_after_a_kill_leaves_the_log_to_what_matters(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "postgres") as server:
        server.kill()
        server.start()
        log = server.log.read_text()
    assert "was not properly shut down" in log
    assert "FATAL" not in log, "waiting must not be seen as refused connections"


async def test_postgres_is_durable_and_listens_to_this_machine_alone(postgres: str) -> None:
    assert await execute(postgres, "SHOW fsync") == "on"
    assert await execute(postgres, "SHOW listen_addresses") == "127.0.0.1"
    assert await execute(postgres, "SHOW unix_socket_directories") == ""


def test_postgres_creates_a_database_once_and_drops_it_under_its_users(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.create_database("select")
    assert postgres_server.create_database("select") == url
    postgres_server.drop_database("select")
    postgres_server.drop_database("select")


@pytest.mark.parametrize("name", ["", "Upper", "a; DROP DATABASE b", "x" * 64, "ä"])
def test_a_database_name_is_a_plain_word(postgres_server: PostgresServer, name: str) -> None:
    with pytest.raises(ValueError, match="plain database name"):
        postgres_server.create_database(name)


def test_postgres_starts_although_another_process_has_the_number_of_its_dead_owner(
    tmp_path: Path,
) -> None:
    with PostgresServer(tmp_path / "postgres") as server:
        server.kill()
        lock = server.data / "postmaster.pid"
        lines = lock.read_text().splitlines()
        lock.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
        assert server.start().running
        server.kill()
        lock.write_text("")
        assert server.start().running


def test_two_postgres_servers_do_not_share_a_directory(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "postgres") as server:
        with pytest.raises(DirectoryInUse) as refused:
            PostgresServer(tmp_path / "postgres").start()
        assert refused.value.pid == server.pid


def test_valkey_keeps_an_acknowledged_frame_through_a_kill(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path / "valkey") as server:
        assert command(server.port, "XADD", "frames", "*", "frame", "1").startswith(b"$")
        server.kill()
        server.start()
        assert command(server.port, "XLEN", "frames") == b":1\r\n"


def test_valkey_never_evicts_and_syncs_each_write(valkey_server: ValkeyServer) -> None:
    policy = command(valkey_server.port, "CONFIG", "GET", "maxmemory-policy")
    assert b"noeviction" in policy
    assert b"always" in command(valkey_server.port, "CONFIG", "GET", "appendfsync")


def test_anvil_with_state_keeps_its_blocks_through_a_kill(tmp_path: Path) -> None:
    with AnvilServer(tmp_path / "anvil", keep_state=True) as server:
        sent = pay(server.url)
        assert eventually(lambda: server.state.exists() and sent[2:] in server.state.read_text())
        server.kill()
        server.start()
        assert rpc(server.url, "eth_getTransactionReceipt", sent)["status"] == "0x1"


def test_anvil_with_state_keeps_its_last_block_through_a_stop(tmp_path: Path) -> None:
    with AnvilServer(tmp_path / "anvil", keep_state=True) as server:
        sent = pay(server.url)
        server.stop()
        server.start()
        assert rpc(server.url, "eth_getTransactionReceipt", sent)["status"] == "0x1"


def test_anvil_without_state_begins_anew(tmp_path: Path) -> None:
    with AnvilServer(tmp_path / "anvil", chain_id=7, block_time_s=1) as server:
        assert rpc(server.url, "eth_chainId") == "0x7"
        sent = pay(server.url)
        server.kill()
        server.start()
        assert rpc(server.url, "eth_getTransactionReceipt", sent) is None


def test_a_call_that_a_node_refuses_is_an_error(anvil: str) -> None:
    with pytest.raises(ValueError, match="no_such_method"):
        rpc(anvil, "no_such_method")


def test_a_call_to_what_is_no_http_server_is_a_connection_error(valkey_server: Server) -> None:
    with pytest.raises(ConnectionError):
        rpc(f"http://127.0.0.1:{valkey_server.port}", "eth_chainId")


@pytest.mark.parametrize("kind", KINDS)
def test_a_taken_port_is_named_and_nothing_is_left_running(
    kind: type[Server], tmp_path: Path
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        server = kind(tmp_path / "server", port)
        server.setting = "--some-port"
        with pytest.raises(PortTaken, match=f"port {port} .* is taken .* --some-port") as refused:
            server.start()
        assert refused.value.port == port
    assert mentioning(tmp_path) == []


def _damage_postgres(folder: Path) -> None:
    (folder / "data" / "PG_VERSION").write_text("1\n")


def _damage_valkey(folder: Path) -> None:
    (folder / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")


def _damage_anvil(folder: Path) -> None:
    (folder / "state.json").write_text("{")


@pytest.mark.parametrize(
    ("kind", "damage", "said"),
    [
        (PostgresServer, _damage_postgres, "FATAL"),
        (ValkeyServer, _damage_valkey, "manifest"),
        (AnvilServer, _damage_anvil, "EOF"),
    ],
)
def test_a_server_that_cannot_start_shows_its_log_and_what_to_do(
    kind: type[Server], damage: object, said: str, tmp_path: Path
) -> None:
    keep = {"keep_state": True} if kind is AnvilServer else {}
    server = kind(tmp_path / "server", **keep)
    with server:
        pass
    assert callable(damage)
    damage(server.directory)
    with pytest.raises(ServerNotStarted) as refused:
        server.start()
    assert said in refused.value.tail
    assert str(server.log) in str(refused.value)
    assert server.hint in str(refused.value)
    assert not server.running


def test_a_server_that_dies_is_reported_with_its_log(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path / "valkey") as server:
        server.check()
        os.kill(server.pid, signal.SIGKILL)
        assert eventually(lambda: not server.running)
        with pytest.raises(ServerDied, match="valkey ended with exit code -9") as died:
            server.check()
        assert "Ready to accept connections" in died.value.tail
        server.start()
        server.check()


def test_a_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "valkey")
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    with server:
        assert not eventually(lambda: not server.running, within_s=0.3)


PARENT = """
import sys, time
from pathlib import Path
from corechain.devnet.postgres import PostgresServer
from corechain.devnet.servers import AnvilServer, ValkeyServer

home = Path(sys.argv[1])
servers = [PostgresServer(home / "p"), ValkeyServer(home / "v"), AnvilServer(home / "a")]
for server in servers:
    server.start()
servers[0].create_database("kept")
print("started", flush=True)
time.sleep(60)
"""


def test_no_server_outlives_a_killed_parent_and_its_data_can_be_used_at_once(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        members = psutil.Process(parent.pid).children(recursive=True)
        assert len(members) > 3, "Postgres has children of its own"
        parent.kill()
    with PostgresServer(tmp_path / "p") as server:
        assert survivors(members) == []
        assert server.create_database("kept").endswith("/kept")


FIRST_START = """
import sys
from pathlib import Path
from corechain.devnet.postgres import PostgresServer

PostgresServer(Path(sys.argv[1])).start()
"""


def test_a_parent_that_is_killed_during_the_first_start_takes_the_unfinished_cluster_with_it(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "p"
    with subprocess.Popen([sys.executable, "-c", FIRST_START, str(folder)]) as parent:
        assert eventually((folder / "data.part" / "PG_VERSION").exists)
        (initdb,) = psutil.Process(parent.pid).children()
        # It would end by itself soon; stopped, it ends only if it is killed.
        initdb.suspend()
        parent.kill()
    left = survivors([initdb])
    for process in left:
        process.kill()
    assert left == []
    with PostgresServer(folder) as server:
        assert server.running
