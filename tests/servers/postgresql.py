"""A PostgreSQL cluster of its own for a test session, and a fresh database for each test that asks."""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.servers.process import TIMEOUT_S, Server, free_port, require

USER = "spanledger"
DEBIAN = "usr/lib/postgresql/*/bin"
# PostgreSQL refuses to run as root; Debian's package brings this user for it.
SYSTEM_USER = "postgres" if os.geteuid() == 0 else None


class Cluster:
    """A running cluster; superuser `spanledger`, no password, on loopback only."""

    def __init__(self, start: Callable[[], Server], port: int) -> None:
        self._start = start
        self.port = port
        self.server = self._started()
        self._names = (f"test_{number}" for number in itertools.count(1))

    def url(self, database: str) -> str:
        """Return SQLAlchemy's URL of a database."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self) -> Generator[str]:
        """Make an empty database, yield its SQLAlchemy URL, and drop it with whoever is still connected."""
        name = next(self._names)
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Run a statement of the test's own, outside any transaction, in the database `postgres`."""
        with psycopg.connect(self._dsn(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def crash(self) -> None:
        """End every process at once, as `pg_ctl stop -m immediate` does, and start again: the cluster recovers."""
        self.server.process.send_signal(signal.SIGQUIT)
        self.server.process.wait(TIMEOUT_S)
        self.server = self._started()

    def _started(self) -> Server:
        server = self._start()
        server.wait_until(self.ready)
        return server

    def ready(self) -> bool:
        """Say whether the cluster accepts connections."""
        try:
            psycopg.connect(self._dsn(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user={USER} dbname=postgres"


@contextmanager
def running(*, fsync: bool = False) -> Generator[Cluster]:
    """Start a new cluster; without fsync it survives a killed process but not a killed machine."""
    programs = require("initdb", folders=DEBIAN, package="postgresql").parent
    # Not pytest's folder: the system user could not enter it, and a socket's path has 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="spanledger-pg-"))
    try:
        if SYSTEM_USER:
            shutil.chown(folder, SYSTEM_USER, SYSTEM_USER)
        _initialise(programs, folder)
        port = free_port()
        command = _command(programs, folder, port, fsync=fsync)

        def start() -> Server:
            # SIGINT is the fast shutdown: it does not wait for clients.
            return Server(command, log=folder / "log", user=SYSTEM_USER, stop_signal=signal.SIGINT)

        cluster = Cluster(start, port)
        try:
            yield cluster
        finally:
            cluster.server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _initialise(programs: Path, folder: Path) -> None:
    flags = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    subprocess.run(
        [programs / "initdb", f"--pgdata={folder / 'data'}", f"--username={USER}", *flags],
        check=True,
        user=SYSTEM_USER,
        group=SYSTEM_USER,
        extra_groups=None if SYSTEM_USER is None else [],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )


def _command(programs: Path, folder: Path, port: int, *, fsync: bool) -> list[str | Path]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(folder),
        "fsync": "on" if fsync else "off",
    }
    flags = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    return [programs / "postgres", "-D", folder / "data", *flags]
