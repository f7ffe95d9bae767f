"""Apprise URL -> a channel that messages go to: mail, chat, pager, webhook.

The only module that knows Apprise (https://appriseit.com). What is secret in a URL, which is nearly all of it, is shown
nowhere: a channel is called by its scheme and, where that is no secret, its host; and Apprise's own log, which has URLs
and bodies in it, is only read for what went wrong.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qsl, unquote

from spanledger_exporter.alerts.notices import Texts
from spanledger_exporter.alerts.sending import Channel, Mail
from spanledger_exporter.errors import ConfigError
from spanledger_exporter.receiving.watched import Watched

try:
    from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, NotifyType
except ImportError as exc:  # it comes with an extra
    raise ConfigError(["messages about budgets need Apprise: pip install 'spanledger[notify]'"]) from exc

_PAGERS: Final = frozenset({"pagerduty"})
"""They show one line."""
_PROGRAMS: Final = frozenset({"json", "jsons", "xml", "xmls", "form", "forms"})
"""Who reads these is a program: plain text, unless the URL says otherwise."""
_PLAIN_OPTIONS: Final = frozenset({"format", "mode", "overflow", "verify", "cto", "rto", "region", "method", "emojis"})
_SECRET_CHARS_MIN: Final = 3
_PROBLEM_CHARS_MAX: Final = 300
_REASON: Final = re.compile(r"(?:Socket )?Exception: (.*)", re.DOTALL)
_ASKED_URL: Final = re.compile(r"with url: \S+")
_MASK: Final = "***"

_log = logging.getLogger("apprise")
_log.propagate = False
_log.addHandler(logging.NullHandler())
_log.setLevel(logging.DEBUG)  # the reason why a server could not be reached is told at this level only


class Channels:
    """The channels that a configuration names, by themselves or in a file, which is read again when it changes.

    `failed` is called for each change of the file that cannot be used; the channels of before stay.

    Raises: `ConfigError` at the start, with every URL that is none of a channel.
    """

    def __init__(self, urls: Sequence[str], file: Path | None, *, failed: Callable[[], None] = lambda: None) -> None:
        def read() -> list[Channel]:
            configured = ((f"notify.urls, channel {number}", url) for number, url in enumerate(urls, 1))
            return open_channels([*configured, *_lines(file)])

        self._watched = Watched([] if file is None else [file], read, failed=failed)

    def __call__(self) -> list[Channel]:
        """Return the channels as they are now."""
        return self._watched.value

    def refresh(self) -> None:
        """Read the file again if it has changed."""
        self._watched.refresh()


def _lines(file: Path | None) -> list[tuple[str, str]]:
    """Return where each URL of a file stands, and the URL; what begins with # is a remark."""
    if file is None:
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
        raise ConfigError([f"notify.urls_file: {file}: {reason}"]) from exc
    found = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    said = [(f"{file}, line {number}", line) for number, line in found if line and not line.startswith("#")]
    if not said:
        raise ConfigError([f"notify.urls_file: {file} names no channel"])
    return said


def open_channels(urls: Sequence[tuple[str, str]]) -> list[Channel]:
    """Return the channels of some URLs, each given with where it stands.

    Raises:
        ConfigError: with every URL that is none of a channel.
    """
    asset = _asset()
    channels: list[Channel] = []
    problems: list[str] = []
    names: Counter[str] = Counter()
    for where, url in urls:
        try:
            plugin, secrets = _plugin(url, asset)
        except ValueError as exc:
            problems.append(f"{where}: {_scheme(url)}://{_MASK}: {exc}")
            continue
        name = _name(url, plugin)
        names[name] += 1
        channels.append(Channel(name if names[name] == 1 else f"{name} {names[name]}", _sender(plugin, name, secrets)))
    if problems:
        raise ConfigError(problems)
    return channels


def _asset() -> AppriseAsset:
    """Return how messages look, and that one thread sends them, with no picture from elsewhere in them."""
    return AppriseAsset(
        app_id="Spanledger",
        app_desc="Spanledger",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,
        service_timeout=0,
    )


def _plugin(url: str, asset: AppriseAsset) -> tuple[NotifyBase, Sequence[str]]:
    secrets = secrets_of(url)
    try:
        # pyright: ignore below, for a URL may also be a dict, and that has no types
        plugin = Apprise.instantiate(url, asset=asset, suppress_exceptions=False)  # pyright: ignore[reportUnknownMemberType]
    except Exception as exc:  # noqa: BLE001 -- the fence around a hundred plugins, each of which refuses in its own way
        raise ValueError(masked(f"{exc}", secrets)) from None
    if plugin is None:
        raise ValueError("no channel that Apprise knows, or not written as it wants it; see https://appriseit.com")
    if len(plugin) > 1:
        raise ValueError(
            "goes to several at once; write a URL for each, so that for one that fails no other gets it again"
        )
    return plugin, [each for each in secrets if each != _host(plugin)]


def _sender(plugin: NotifyBase, name: str, secrets: Sequence[str]) -> Callable[[Mail], str | None]:
    apprise = Apprise([plugin], asset=plugin.asset)
    scheme = name.partition("://")[0]

    def send(mail: Mail) -> str | None:
        try:
            body, form = _body(plugin, scheme, mail.texts)
            result = apprise.notify(  # pyright: ignore[reportUnknownMemberType] -- one of its parameters has no types
                body,
                title="" if body == mail.texts.brief else mail.texts.subject,
                notify_type=NotifyType.FAILURE if mail.grave else NotifyType.WARNING,
                body_format=form,
                log_level=logging.DEBUG,
            )
        except Exception as exc:  # noqa: BLE001 -- the fence around a hundred plugins
            return masked(f"{type(exc).__name__}: {exc}", secrets)
        return None if result else masked(_problem([(each.level, each.message) for each in result.logs()]), secrets)

    return send


def _body(plugin: NotifyBase, scheme: str, texts: Texts) -> tuple[str, NotifyFormat]:
    """Return what suits a channel, in the form that it takes, so that nothing is converted on the way."""
    form = plugin.resolve_format(NotifyFormat.TEXT if scheme in _PROGRAMS else NotifyFormat.MARKDOWN)
    body = {NotifyFormat.HTML: texts.html, NotifyFormat.MARKDOWN: texts.markdown}.get(form, texts.text)
    if scheme in _PAGERS or len(texts.subject) + len(body) > plugin.body_maxlen:
        return texts.brief, NotifyFormat.TEXT
    return body, form


def _scheme(url: str) -> str:
    found = re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,30}(?=://)", url)
    return found[0].lower() if found else _MASK


def _host(plugin: NotifyBase) -> str | None:
    token = cast("Any", plugin).template_tokens.get("host")  # Any: Apprise gives these no types
    return plugin.host if token is not None and not token.get("private") else None


def _name(url: str, plugin: NotifyBase) -> str:
    scheme, host = _scheme(url), _host(plugin)
    if scheme == "https":  # an address that a service shows to be copied
        scheme = cast("str | tuple[str, ...]", plugin.secure_protocol)
        scheme = scheme if isinstance(scheme, str) else scheme[-1]
    port: int | None = cast("Any", plugin).port
    return f"{scheme}://{host or _MASK}{f':{port}' if host and port else ''}"


def secrets_of(url: str) -> list[str]:
    """Return the pieces of a URL that may be secret, the longest first: all but its scheme and the names of options."""
    _, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    pieces = [*re.split(r"[/@:#,;]+", rest), *(value for name, value in parse_qsl(query) if name not in _PLAIN_OPTIONS)]
    pieces += [unquote(piece) for piece in pieces]
    return sorted({piece for piece in pieces if len(piece) >= _SECRET_CHARS_MIN}, key=len, reverse=True)


def masked(text: str, secrets: Sequence[str]) -> str:
    """Return a text as one line without secrets."""
    line = _ASKED_URL.sub(f"with url: {_MASK}", " ".join(text.split()))
    for secret in secrets:
        line = line.replace(secret, _MASK)
    return line[:_PROBLEM_CHARS_MAX]


def _problem(entries: Sequence[tuple[str, str]]) -> str:
    """Return what Apprise says went wrong: its warnings, and the errors of sockets below them."""
    said = [message for level, message in entries if level in {"WARNING", "ERROR", "CRITICAL"}]
    said += [_cause(found[1]) for level, message in entries if level == "DEBUG" and (found := _REASON.match(message))]
    return " ".join(dict.fromkeys(said)) or "not delivered, and Apprise does not say why"


def _cause(reason: str) -> str:
    """Return the innermost of several errors that were wrapped in each other, as requests does."""
    return reason.rsplit(": ", 1)[-1].rstrip("\"')") if "Caused by" in reason else reason
