"""A host that a token is for -> an opener that sends it to nobody else, and what keeps it out of what is printed.

It follows no redirect, and goes through no proxy to this host itself, whatever `http_proxy` says. To other hosts the
proxies of the environment are used, as everywhere.
"""

import ipaddress
import re
import urllib.request
from http.client import HTTPMessage
from typing import IO
from urllib.parse import urlsplit


def opener(host: str) -> urllib.request.OpenerDirector:
    """Return what opens requests to a host; a redirect is an `HTTPError` with its status and `location`."""
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    if _is_loopback(host):
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def hidden(text: str, token: str) -> str:
    """Return a text without a token that a server repeated in it; a text that was cut may have a part of it yet."""
    return re.sub(re.escape(token), "***", text, flags=re.IGNORECASE) if token else text


def plain_token_warning(url: str) -> str | None:
    """Return what to say of a token that is sent to a URL, if others on the way can read it."""
    parts = urlsplit(url)
    if parts.scheme != "http" or _is_loopback(parts.hostname or ""):
        return None
    return f"warning: the token goes to {parts.hostname} by http: whoever is on the way can read it; use https"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Make no request of it."""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
