"""A host that a token is for -> an opener that sends it to nobody else.

It follows no redirect, and goes through no proxy to this host itself, whatever `http_proxy` says. To other hosts the
proxies of the environment are used, as everywhere.
"""

import ipaddress
import urllib.request
from http.client import HTTPMessage
from typing import IO


def opener(host: str) -> urllib.request.OpenerDirector:
    """Return what opens requests to a host; a redirect is an `HTTPError` with its status and `location`."""
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    if _is_loopback(host):
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


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
