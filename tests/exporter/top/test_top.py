"""`spanledger top` as a person sees it: in a real terminal, over a ledger that is written, and over a real exporter."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from spanledger_exporter.errors import SpanledgerError, UnavailableError
from spanledger_exporter.ledger.database import open_database, parse_url
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.receiving.tokens import line_of
from spanledger_exporter.top.sources import HttpSource, LedgerSource
from tests.exporter.budgets.budgets import declare
from tests.exporter.calls import priced
from tests.exporter.top.served import send
from tests.servers.authority import Authority
from tests.servers.exporter import SPANLEDGER, Exporter
from tests.servers.process import free_port
from tests.servers.terminal import Terminal

FAST = ("--interval", "0.5")
SHOWN, HIDDEN = b"\x1b[?1049h", b"\x1b[?1049l"


class Written:
    """A ledger that calls are written to now."""

    def __init__(self, url: str, book: PriceBook) -> None:
        self.url = url
        self._book = book
        self._database = open_database(url)
        self._ledger = Ledger(self._database, cells_max=100)
        self._ledger.keep_book(book)
        declare(self._database, {"name": "company", "limit_usd": "100"}, now_ns=time.time_ns())

    def write(self, count: int, **changes: Any) -> None:
        now_ns = time.time_ns()
        self._ledger.append([priced(self._book, end_ns=now_ns, start_ns=now_ns, **changes) for _ in range(count)])

    def close(self) -> None:
        self._ledger.close()


@pytest.fixture
def written(sqlite_url: str, book: PriceBook) -> Iterator[Written]:
    made = Written(sqlite_url, book)
    made.write(3)
    made.write(2, service="search", response_model=None, request_model="mystery")
    yield made
    made.close()


def on(written: Written, *arguments: str, **options: Any) -> Terminal:
    return Terminal([SPANLEDGER, "top", "--ledger", written.url, *FAST, *arguments], **options)


def calls(count: int) -> Callable[[str], object]:
    """Whether so many calls are in the window's sum."""
    return lambda text: re.search(rf"^last .+  (≥ )?\S+ +{count} ", text, re.MULTILINE)


def old(count: int, problem: str = "") -> Callable[[str], object]:
    """Whether the figures of so many calls are there with their age, and why there are no others."""
    return lambda text: re.search(r"UTC, \d+ s ago$", text.split("\n")[0]) and problem in text and calls(count)(text)


def assert_restored(terminal: Terminal) -> None:
    assert terminal.settings_now() == terminal.settings
    assert terminal.output.count(SHOWN) == terminal.output.count(HIDDEN) > 0
    for on_, off in ((b"\x1b[?25h", b"\x1b[?25l"), (b"\x1b[?7h", b"\x1b[?7l"), (HIDDEN, SHOWN)):
        assert terminal.output.rindex(on_) > terminal.output.rindex(off)


def test_what_is_written_meanwhile_appears(written: Written) -> None:
    with on(written) as top:
        top.wait_for(calls(5), what="the calls that were there")
        for count in (6, 7, 8):
            written.write(1)
            top.wait_for(calls(count), what="the call that was written")
        top.press("q")
        assert top.ended() == 0
        assert_restored(top)


def test_keys_act(written: Written) -> None:
    with on(written) as top:
        top.wait_for(calls(5), what="the picture")
        top.press("s")
        top.wait_for(lambda text: "s calls" in text, what="another order")
        top.press("r")
        top.wait_for(lambda text: "s calls reversed" in text, what="the other direction")
        top.press("/myst\r")
        top.wait_for(lambda text: calls(2)(text) and "gpt-4o-mini" not in text, what="the filter")
        top.press("\x1b")
        top.wait_for(calls(5), what="everything again")
        top.press("w")
        top.wait_for(lambda text: "last 24 hours" in text, what="another window")
        top.press("b")
        bar = re.compile(r"^company +▏░", re.MULTILINE)
        top.wait_for(lambda text: "by model" not in text and bar.search(text), what="budgets alone")
        top.press("c")
        top.wait_for(lambda text: "newest calls" in text and "budgets ─" not in text, what="calls alone")
        top.press("m")
        top.wait_for(lambda text: "by service" in text and "newest calls" not in text, what="models alone")
        top.press("?")
        top.wait_for(lambda text: "this help; any key closes it" in text, what="the help")
        top.press(" ")
        top.wait_for(lambda text: "by service" in text, what="the picture again")
        top.press("q")
        assert top.ended() == 0
        assert_restored(top)


def test_a_pause_lasts_until_its_key_is_pressed_again(written: Written) -> None:
    with on(written) as top:
        top.wait_for(calls(5), what="the picture")
        top.press("p")
        top.wait_for(lambda text: "paused" in text.splitlines()[0], what="the pause")
        written.write(1)
        top.wait_for(
            lambda text: re.search(r"UTC, [3-9] s ago", text) and calls(5)(text),
            what="some seconds of the same figures",
        )
        top.press("p")
        top.wait_for(calls(6), what="what came meanwhile")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGQUIT, 131)]
)
def test_a_signal_ends_it_and_the_terminal_is_as_before(written: Written, number: signal.Signals, status: int) -> None:
    with on(written) as top:
        top.wait_for(calls(5), what="the picture")
        assert top.settings_now() != top.settings
        top.process.send_signal(number)
        assert top.ended() == status
        assert_restored(top)


def test_ctrl_c_ends_it_as_any_other_command(written: Written) -> None:
    with on(written) as top:
        top.wait_for(calls(5), what="the picture")
        top.press("/\x03")
        assert top.ended() == 130
        assert_restored(top)
        assert b"Traceback" not in top.output


def test_ctrl_z_gives_the_terminal_back_for_a_while(written: Written) -> None:
    with on(written) as top:
        top.wait_for(calls(5), what="the picture")
        top.press("\x1a")
        top.wait_until_stopped()
        top.text()
        assert_restored(top)
        written.write(1)
        top.process.send_signal(signal.SIGCONT)
        top.wait_for(calls(6), what="the picture again")
        top.press("q")
        assert top.ended() == 0
        assert_restored(top)


def test_the_picture_fits_a_terminal_of_another_size(written: Written) -> None:
    with on(written, width=80, height=24, environ={"COLUMNS": "80", "LINES": "24"}) as top:
        top.wait_for(lambda text: "q quit" in text.split("\n")[23], what="the picture")
        top.resize(200, 50)
        beside = re.compile(r"^by model ─+ +budgets ─+$", re.MULTILINE)
        top.wait_for(lambda text: "q quit" in text.split("\n")[49] and beside.search(text), what="a larger one")
        top.resize(40, 15)
        top.wait_for(lambda text: "q quit" in text.split("\n")[14], what="a smaller one")


@pytest.mark.parametrize("height", [1, 3, 8])
def test_a_terminal_that_is_too_small_shows_what_it_can(written: Written, height: int) -> None:
    with on(written, width=30, height=height) as top:
        top.wait_for(lambda text: "q quit" in text, what="the last line")
        top.press("q")
        assert top.ended() == 0


def test_trouble_with_the_ledger_is_said_in_one_line_and_passes(written: Written) -> None:
    engine = create_engine(parse_url(written.url))
    with on(written) as top:
        top.wait_for(calls(5), what="the picture")
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE rollup_minutes RENAME TO gone")
        top.wait_for(old(5, "cannot be used now: no such table"), what="the trouble")
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO rollup_minutes")
        written.write(1)
        top.wait_for(lambda text: calls(6)(text) and "cannot be used" not in text, what="the figures of now")
    engine.dispose()


def test_a_ledger_that_is_locked_leaves_the_last_figures_with_their_age(postgresql_url: str, book: PriceBook) -> None:
    with ExitStack() as stack:
        written = stack.enter_context(closing(Written(postgresql_url, book)))
        written.write(5)
        engine = create_engine(parse_url(postgresql_url))
        stack.callback(engine.dispose)
        with on(written) as top:
            top.wait_for(calls(5), what="the picture")
            with engine.begin() as connection:
                connection.exec_driver_sql("LOCK TABLE rollup_minutes IN ACCESS EXCLUSIVE MODE")
                top.wait_for(old(5), what="the figures' age")
                top.press("s")
                top.wait_for(lambda text: "s calls" in text, what="what a key does meanwhile")
            written.write(1)
            top.wait_for(calls(6), what="the figures of now")
            top.press("q")
            assert top.ended() == 0


def test_a_ledger_is_called_without_the_driver_that_was_filled_in(postgresql_url: str, book: PriceBook) -> None:
    typed = postgresql_url.replace("postgresql+psycopg:", "postgresql:")
    assert typed != postgresql_url
    with closing(Written(postgresql_url, book)), closing(LedgerSource(typed)) as source:
        assert source.read("1h").total.calls == 0
        assert source.name == typed
    gone = LedgerSource(f"postgresql://somebody:s3cret@127.0.0.1:{free_port()}/ledger")
    with pytest.raises(UnavailableError) as raised:
        gone.read("1h")
    assert gone.name.startswith("postgresql://somebody:***@")
    assert gone.name in str(raised.value)
    assert "psycopg:" not in str(raised.value)


def test_an_exporter_that_is_gone_leaves_the_last_figures_until_it_is_back(sqlite_url: str, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "second").mkdir()
    exporter = Exporter(sqlite_url, tmp_path, metrics=address)
    send(exporter, 4)
    with Terminal([SPANLEDGER, "top", "--url", f"http://{address}", *FAST]) as top:
        top.wait_for(calls(4), what="the picture")
        send(exporter, 1)
        top.wait_for(calls(5), what="what was sent meanwhile")
        exporter.server.kill()
        top.wait_for(old(5, "does not answer: "), what="the trouble")
        with Exporter(sqlite_url, tmp_path / "second", metrics=address).server as again:
            top.wait_for(lambda text: "does not answer" not in text, what="the exporter of now")
            top.press("q")
            assert top.ended() == 0
            assert_restored(top)
            assert again.process.poll() is None


def test_what_somebody_calls_a_model_does_nothing_to_the_terminal(written: Written) -> None:
    written.write(
        1, response_model="\x1b[2J\x1b]0;owned\x07[red]gpt\u202e\n模型👩\u200d👧", service="\x1b[31m\x9b5n" * 90
    )
    with on(written, width=80) as top:
        top.wait_for(lambda text: calls(6)(text) and "[red]gpt" in text, what="the picture")
        top.press("q")
        assert top.ended() == 0
    sequences = set(re.findall(rb"\x1b\[?[^a-zA-Z\x1b]*[a-zA-Z]?", top.output))
    assert not [each for each in sequences if each[-1:] not in b"hlmH"]


# -- once ----------------------------------------------------------------------------------------------------


def run(*arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SPANLEDGER, "top", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1", **(environ or {})},
    )


def test_a_pipe_gets_one_picture(written: Written) -> None:
    done = run("--ledger", written.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert calls(5)(done.stdout)
    assert "\x1b" not in done.stdout
    assert "q quit" not in done.stdout
    assert "░ " in done.stdout


def test_a_terminal_gets_one_picture_if_it_is_wanted(written: Written) -> None:
    with on(written, "--once", "--window", "15m", width=100) as top:
        assert top.ended() == 0
        assert "last 15 min" in top.text()
        assert SHOWN not in top.output


def test_a_pipe_that_knows_no_block_characters_gets_others(written: Written) -> None:
    done = run("--ledger", written.url, environ={"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert ">= 0.00007" in done.stdout


def test_a_ledger_and_its_exporter_say_the_same(sqlite_url: str, tmp_path: Path) -> None:
    tokens, token = tmp_path / "tokens", tmp_path / "token"
    tokens.write_text("".join(line_of(scope, scope, frozenset({scope}), None) + "\n" for scope in ("read", "ingest")))
    token.write_text("read\n")
    exporter = Exporter(sqlite_url, tmp_path, environ={"SPANLEDGER_AUTH_TOKENS_FILE": str(tokens)})
    with exporter.server:
        send(exporter, 9, token="ingest")
        url = ("--url", f"http://{exporter.metrics}/", "--token-file", str(token))
        for window in ("15m", "month"):
            told, read = (
                run(*url, "--json", "--window", window),
                run("--ledger", sqlite_url, "--json", "--window", window),
            )
            assert (told.returncode, told.stderr) == (0, "")
            assert figures(told.stdout) == figures(read.stdout)
            assert json.loads(told.stdout)["total"]["calls"] == 9
        for ending in ("", "/metrics", "/metrics/"):  # the address of its metrics, as it is printed at the start
            assert run("--url", f"http://{exporter.metrics}{ending}", *url[2:], "--json").returncode == 0
        token.write_text("ingest")
        denied = run(*url, "--json")
        assert (denied.returncode, denied.stdout) == (1, "")
        assert "is not for read; --token-file FILE names one" in denied.stderr


def test_an_exporter_with_a_certificate_is_trusted_by_its_authority(sqlite_url: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    served = authority.issue()
    environ = {
        "SPANLEDGER_RECEIVER_TLS_CERT_FILE": str(served.certificate),
        "SPANLEDGER_RECEIVER_TLS_KEY_FILE": str(served.key),
    }
    exporter = Exporter(sqlite_url, tmp_path, environ=environ)
    with exporter.server:
        url = f"https://{exporter.metrics}"
        assert run("--url", url, "--json", environ={"SSL_CERT_FILE": str(authority.certificate)}).returncode == 0
        refused = run("--url", url, "--json")
        assert refused.returncode == 1
        assert "certificate verify failed" in refused.stderr


def figures(printed: str) -> dict[str, Any]:
    """What does not change with the clock: not the time of the look, and what depends on it."""
    document = json.loads(printed)
    for key in ("at", "since", "minutes", "outlook"):
        del document[key]
    return document


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--ledger", "sqlite:////nowhere/ledger.db"], 2, "there is no ledger at /nowhere/ledger.db"),
        (["--url", "http://127.0.0.1:1"], 1, "http://127.0.0.1:1 does not answer: "),
        (["--url", "ftp://127.0.0.1"], 2, "--url must be of an exporter's metrics"),
        (["--url", "http://user:word@127.0.0.1"], 2, "without user and password"),
        (["--url", "http://[::1"], 2, "--url must be"),
        (["--url", "http://127.0.0.1:99999"], 2, "--url must be"),
        (["--url", "http://127.0.0.1:1", "--ledger", "sqlite:////a"], 2, "leave out --ledger and --config"),
        (
            ["--url", "http://127.0.0.1:1", "--token-file", "/nowhere/token"],
            2,
            "token file /nowhere/token: No such file",
        ),
        (["--url", "http://127.0.0.1:1", "--token-file", "/dev/null"], 2, "one token is wanted in it"),
        (["--token-file", "/dev/null"], 2, "--token-file is for --url"),
        (["--interval", "0.4"], 2, "'0.4' is no interval; write seconds, from 0.5 to 3600"),
        (["--interval", "nan"], 2, "'nan' is no interval"),
        (["--window", "2h"], 2, "invalid choice"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], status: int, said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_that_others_on_the_way_can_read_is_warned_of_once(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret")
    warned, failure = run("--url", "http://exporter.invalid", "--token-file", str(token)).stderr.splitlines()
    assert warned.startswith("spanledger: warning: the token goes to exporter.invalid by http: ")
    assert "does not answer" in failure
    assert "warning" not in run("--url", "http://exporter.invalid").stderr
    assert "warning" not in run("--url", "http://127.0.0.1:1", "--token-file", str(token)).stderr


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 401 No\r\n\r\nbad token Bearer s3cret-of-top",
        b"HTTP/1.1 503 No\r\n\r\n" + b"x" * 190 + b" s3cret-of-top",
        b"s3cret-of-top is no status\r\n\r\n",
        b'HTTP/1.1 200 OK\r\n\r\n{"at": "s3cret-of-top"}',
    ],
)
def test_a_token_that_a_server_repeats_is_not_shown(tmp_path: Path, answer: bytes) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret-of-top")
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = HttpSource(f"http://127.0.0.1:{server.getsockname()[1]}", token)
        answering = threading.Thread(target=answer_once, args=(server, answer))
        answering.start()
        with pytest.raises(SpanledgerError) as raised:
            source.read("1h")
        answering.join()
    assert "s3cret" not in str(raised.value)
    assert "***" in str(raised.value)


def answer_once(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "has no /v1/overview: it is no exporter's metrics, or an older one"),
        (b"HTTP/1.1 503 No\r\n\r\nnot\x1b[2J now", "answers 503: not\ufffd[2J now"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n", "answers 302"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "answers with no JSON"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"at": []}', "what was answered is no overview"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000, "answers with no JSON"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (5 * 1024 * 1024), "answers with more than 4194304 bytes"),
        (b"SSH-2.0-OpenSSH\r\n", "does not answer"),
        (b"", "does not answer"),
    ],
)
def test_who_is_no_exporter_is_told_apart(answer: bytes, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        asking = subprocess.Popen(
            [SPANLEDGER, "top", "--url", f"http://{host}:{port}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUTF8": "1"},
        )  # fmt: skip
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            # It may hang up before it has read all of an answer that is too long.
            with suppress(ConnectionError):
                connection.sendall(answer)
        out_, err = asking.communicate(timeout=60)
    assert (asking.returncode, out_) == (1, b"")
    assert said in err.decode()
