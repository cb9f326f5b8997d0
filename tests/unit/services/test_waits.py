"""What the application does about its backends; PostgreSQL itself is for tests of the whole."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
import psycopg_pool
import pytest

import waits


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """Each test has a process's pools of its own."""
    for make in (waits._make_database, waits._make_upstream):
        make.cache_clear()
    yield
    for make in (waits._make_database, waits._make_upstream):
        make.cache_clear()


# PostgreSQL.


class Connection:
    """A connection that answers each statement from `rows`, and remembers them."""

    def __init__(self, *rows: tuple[Any, ...] | Exception | None) -> None:
        self.rows = list(rows)
        self.statements: list[str] = []
        self.values: list[Any] = []
        self.in_transaction: list[bool] = []
        self._within = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._within = True
        yield
        self._within = False

    def execute(self, statement: str, values: Any = None) -> "Connection":
        self.statements.append(" ".join(statement.split()))
        self.values.append(values)
        self.in_transaction.append(self._within)
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        row = self.rows.pop(0)
        if isinstance(row, Exception):
            raise row
        return row


class Pool:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        yield self._connection


def test_one_statement_waits_and_reads_a_row_by_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(("content", ""))
    monkeypatch.setattr(waits, "_make_database", lambda: Pool(connection))

    assert waits.read_item(7, 2.5) == "content"

    (statement,) = connection.statements
    assert "pg_sleep(%s)" in statement
    assert statement.endswith("FROM item WHERE id = %s")
    assert connection.values == [[0.0025, 7]]


@pytest.mark.parametrize(
    "row", [psycopg.OperationalError("terminating\nconnection"), psycopg.errors.UndefinedTable("no table"), None]
)
def test_whatever_goes_wrong_with_postgresql_is_told_as_down(
    monkeypatch: pytest.MonkeyPatch, row: tuple[Any, ...] | Exception | None
) -> None:
    monkeypatch.setattr(waits, "_make_database", lambda: Pool(Connection(row)))

    with pytest.raises(waits.Down, match=r"^PostgreSQL is down: [^\n]+$"):
        waits.read_item(7, 0.0)


def test_without_a_driver_the_database_alone_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "HAS_DRIVER", False)
    with pytest.raises(waits.Down, match=r"^PostgreSQL is down: this Python has no driver for it$"):
        waits.read_item(3, 1.0)


def test_the_table_is_made_by_one_process_while_the_others_wait() -> None:
    connection = Connection((None,))

    waits._have_table(connection)  # type: ignore[arg-type]

    looks, lock, create, fill = connection.statements
    assert looks == "SELECT to_regclass('item')"
    assert lock == "SELECT pg_advisory_xact_lock(%s)"
    assert create.startswith("CREATE TABLE IF NOT EXISTS item (id integer PRIMARY KEY")
    assert fill.startswith("INSERT INTO item")
    assert fill.endswith("ON CONFLICT DO NOTHING")
    assert connection.in_transaction == [False, True, True, True]
    assert connection.values[3] == [waits.ITEMS - 1], "numbered from 0"


def test_a_table_that_is_there_is_left_alone() -> None:
    connection = Connection(("item",))

    waits._have_table(connection)  # type: ignore[arg-type]

    assert len(connection.statements) == 1


def test_a_process_has_one_pool_however_many_threads_ask_first(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Made(Pool):
        def __init__(self, conninfo: str, **options: Any) -> None:
            time.sleep(0.02)
            super().__init__(Connection(*[("content",)] * 8))
            made.append((psycopg.conninfo.conninfo_to_dict(conninfo), options))

        def close(self, timeout: float) -> None:
            """At the process's end."""

    monkeypatch.setattr(psycopg_pool, "ConnectionPool", Made)
    monkeypatch.setenv("LAB_POSTGRES", "127.0.0.1:5433")
    threads = [threading.Thread(target=waits.read_item, args=(7, 0.0)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    ((where, options),) = made
    assert where == {"host": "127.0.0.1", "port": "5433", "user": "lab", "dbname": "lab", "connect_timeout": "2"}
    assert (options["min_size"], options["max_size"], options["timeout"]) == (0, 64, 2.0)
    assert options["configure"] is waits._have_table
    assert options["kwargs"] == {"autocommit": True}, "one statement, without a transaction of its own around it"


def test_a_pool_is_as_large_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_DB_POOL", "3")

    assert waits._most_connections() == 3
    kept = waits._make_upstream().pool
    assert kept is not None
    assert kept.maxsize == 3


def test_a_database_that_is_not_there_is_down_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_POSTGRES", f"127.0.0.1:{free_port()}")
    monkeypatch.setattr(waits, "LONGEST_WAIT_S", 0.2)

    with pytest.raises(waits.Down, match=r"PostgreSQL is down: couldn't get a connection after 0.20 sec"):
        waits.read_item(0, 0.0)
    waits._make_database().close()


# The other service.


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


class Service(ThreadingHTTPServer):
    """A service that answers with `status`, and counts its connections and what it was asked."""

    daemon_threads = True

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.status = status
        self.connections = 0
        self.paths: list[str] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"done\n")

    def log_message(self, *_: object) -> None: ...


@contextmanager
def service(monkeypatch: pytest.MonkeyPatch, status: int = 200) -> Iterator[Service]:
    # On a busy machine an answer takes longer than a moment.
    monkeypatch.setattr(waits, "LONGEST_WAIT_S", 60.0)
    with Service(status) as made:
        serving = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        monkeypatch.setenv("LAB_UPSTREAM", f"127.0.0.1:{made.server_port}")
        try:
            yield made
        finally:
            waits._make_upstream().close()
            made.shutdown()
            serving.join()


def test_the_other_service_is_asked_over_one_kept_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with service(monkeypatch) as upstream:
        assert [waits.ask_upstream(2.5) for _ in range(3)] == ["done\n"] * 3

    assert upstream.paths == ["/wait?ms=2.5"] * 3
    assert upstream.connections == 1


def test_an_answer_that_is_none_is_told_as_down_and_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        service(monkeypatch, status=500) as upstream,
        pytest.raises(waits.Down, match=r"upstream is down: .* status 500"),
    ):
        waits.ask_upstream(1.0)

    assert len(upstream.paths) == 1


def test_a_service_that_is_not_there_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_UPSTREAM", f"127.0.0.1:{free_port()}")

    with pytest.raises(waits.Down, match=r"^upstream is down: [^\n]*refused"):
        waits.ask_upstream(1.0)


def test_a_service_that_hangs_is_down_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "LONGEST_WAIT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("LAB_UPSTREAM", f"127.0.0.1:{silent.getsockname()[1]}")

        with pytest.raises(waits.Down, match=r"upstream is down: .*read timeout=0.15"):
            waits.ask_upstream(50.0)
        waits._make_upstream().close()
