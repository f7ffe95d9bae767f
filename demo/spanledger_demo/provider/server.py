"""The provider as a real HTTP server: in a thread, for tests, or until a signal, for the command line."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from spanledger_demo.provider.app import build
from spanledger_demo.provider.endpoint import Books, open_books
from spanledger_demo.provider.faults import FaultPlan

START_DEADLINE_S = 10.0
STOP_DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Hold a running provider: where it is, what it answered, and what shall go wrong."""

    url: str
    books: Books

    @property
    def openai_url(self) -> str:
        """Give what `OPENAI_BASE_URL` must be; `ANTHROPIC_BASE_URL` is `url`."""
        return f"{self.url}/v1"

    def tally(self) -> dict[str, Any]:
        """Sum what was answered so far, in all and by model."""
        return self.books.tally.as_dict()

    def answers(self) -> list[dict[str, Any]]:
        """List what was answered, oldest first."""
        return self.books.tally.answers()

    def control(self, **changes: Any) -> None:  # Any: JSON, checked by `Faults.change`
        """Change what goes wrong from now on, by the fields of `FaultPlan`."""
        self.books.faults.change(changes)


@contextmanager
def running_provider(
    *, host: str = "127.0.0.1", port: int = 0, seed: int = 0, plan: FaultPlan | None = None
) -> Generator[Provider]:
    """Serve on a loopback port, any free one by default, until the block ends.

    Raises: OSError where the port is taken.
    """
    books = open_books(seed=seed, plan=plan)
    with _listening(host, port) as listener:
        server = uvicorn.Server(_uvicorn_config(books))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="provider")
        thread.start()
        try:
            _wait_until_started(server, thread)
            yield Provider(url=f"http://{host}:{listener.getsockname()[1]}", books=books)
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def _listening(host: str, port: int) -> Generator[socket.socket]:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        yield listener
    finally:
        listener.close()


def _uvicorn_config(books: Books) -> uvicorn.Config:
    return uvicorn.Config(
        build(books),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        # uvicorn calls a deliberately broken answer an error of the application; it is ours.
        log_level="critical",
        timeout_graceful_shutdown=int(STOP_DEADLINE_S),
    )


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise OSError("the provider did not start")
        time.sleep(0.005)
