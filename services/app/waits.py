"""What `/db` and `/upstream` wait for: a row of PostgreSQL, and the answer of another service.

Each process has one pool of database connections and one of HTTP connections, made when it first needs them, which is
after any fork. Connections are kept, and every wait has a limit: a backend that is down is told as `Down`, soon.

LAB_POSTGRES and LAB_UPSTREAM (host:port) say where the backends are. LAB_DB_POOL says how many connections to
PostgreSQL a process opens at most.
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
from importlib.util import find_spec
from typing import Any

import urllib3

ITEMS = 10_000
"""Rows of the table: numbered from 0, each with the SHA-256 of its number's decimal digits."""
LONGEST_WAIT_S = 2.0
"""For a connection, and beyond what was asked for."""
DEFAULT_POOL = 64
HAS_DRIVER = find_spec("psycopg") is not None
"""Of PostgreSQL. There is none for a free-threaded Python, and nothing else needs it."""

if HAS_DRIVER:
    import psycopg
    import psycopg_pool

_FOR_EVER_S = 30 * 86_400.0
_LOCK = 0x1AB
"""The key of an advisory lock: any number, as long as every process takes the same."""
_making = threading.Lock()


class Down(Exception):
    """A backend does not do what it should. Says which, and why, in one line."""

    def __init__(self, backend: str, error: object) -> None:
        super().__init__(f"{backend} is down: {' '.join(str(error).split())}")


def read_item(item: int, ms: float) -> str:
    """What the row `item` holds, by a statement that waits `ms` milliseconds in PostgreSQL. Raises Down."""
    if not HAS_DRIVER:
        raise Down("PostgreSQL", "this Python has no driver for it")
    try:
        with _database().connection() as connection:
            found = connection.execute("SELECT content, pg_sleep(%s) FROM item WHERE id = %s", [ms / 1000, item])
            return str(_only(found)[0])
    except psycopg.Error as error:
        raise Down("PostgreSQL", error) from None


def ask_upstream(ms: float) -> str:
    """What the slow service answers after `ms` milliseconds. Raises Down."""
    limit = urllib3.Timeout(connect=LONGEST_WAIT_S, read=ms / 1000 + LONGEST_WAIT_S)
    try:
        answer = _upstream().request("GET", f"/wait?ms={ms:g}", timeout=limit, pool_timeout=LONGEST_WAIT_S)
    except urllib3.exceptions.HTTPError as error:
        raise Down("upstream", error) from None
    if answer.status != 200:  # noqa: PLR2004 - HTTP's own number
        raise Down("upstream", f"it answered with status {answer.status}")
    return answer.data.decode()


def _most_connections() -> int:
    return int(os.environ.get("LAB_DB_POOL", DEFAULT_POOL))


def _database() -> psycopg_pool.ConnectionPool[psycopg.Connection[Any]]:
    with _making:
        return _make_database()


@functools.cache
def _make_database() -> psycopg_pool.ConnectionPool[psycopg.Connection[Any]]:
    host, _, port = os.environ.get("LAB_POSTGRES", "127.0.0.1:5432").rpartition(":")
    pool = psycopg_pool.ConnectionPool(
        psycopg.conninfo.make_conninfo(host=host, port=port, user="lab", dbname="lab", connect_timeout=2),
        kwargs={"autocommit": True},
        configure=_have_table,
        open=True,
        min_size=0,
        max_size=_most_connections(),
        timeout=LONGEST_WAIT_S,
        # What was opened stays open: opening it again would be measured.
        max_idle=_FOR_EVER_S,
        max_lifetime=_FOR_EVER_S,
        # Whoever asks next tries again.
        reconnect_timeout=LONGEST_WAIT_S,
        num_workers=1,
    )
    # While its threads, or what a server has in place of threads, can still be waited for.
    atexit.register(pool.close, timeout=1.0)
    return pool


def _have_table(connection: psycopg.Connection[Any]) -> None:
    """Make the table, unless somebody has. Each connection asks: the database may have been made anew meanwhile."""
    if _only(connection.execute("SELECT to_regclass('item')"))[0] is not None:
        return
    with connection.transaction():
        # Of all processes that find no table, one makes it, and the others wait.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        connection.execute("CREATE TABLE IF NOT EXISTS item (id integer PRIMARY KEY, content text NOT NULL)")
        connection.execute(
            "INSERT INTO item SELECT id, encode(sha256(id::text::bytea), 'hex') FROM generate_series(0, %s) id "
            "ON CONFLICT DO NOTHING",
            [ITEMS - 1],
        )


def _only(found: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = found.fetchone()
    if row is None:
        raise psycopg.DataError("there is no such row")
    return row


def _upstream() -> urllib3.HTTPConnectionPool:
    with _making:
        return _make_upstream()


@functools.cache
def _make_upstream() -> urllib3.HTTPConnectionPool:
    where = os.environ.get("LAB_UPSTREAM", "127.0.0.1:8001")
    return urllib3.connection_from_url(f"http://{where}", maxsize=_most_connections(), block=True, retries=False)
