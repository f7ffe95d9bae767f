"""The response of aiohttp to a request that is not sent, and the header that tells of budgets near their limits."""

import asyncio
import inspect
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from spanledger_instrumentation.refusals import NOTICE, REASON, STATUS_CODE, Refusal

__all__ = ["noted", "refused"]


async def refused(
    module: Any, session: Any, method: str, given: Any, kwargs: Mapping[str, Any], refusal: Refusal
) -> Any:  # Any: the module, its session and its response, which has no public constructor
    """Make it, and raise for its status where the session or the request wants that.

    Raises:
        BudgetExceededError: this aiohttp is another than we know.
    """
    try:
        response = _made(module, session, method.upper(), given, kwargs, refusal)
    except Exception as error:
        raise refusal.error() from error
    raises: Any = kwargs.get("raise_for_status")
    raises = getattr(session, "_raise_for_status", False) if raises is None else raises
    if callable(raises):
        raising: Any = raises(response)
        await raising
    elif raises:
        response.raise_for_status()
    return response


def _made(module: Any, session: Any, method: str, given: Any, kwargs: Mapping[str, Any], refusal: Refusal) -> Any:
    url = session._build_url(given)  # noqa: SLF001 - joined to the session's own URL
    if params := kwargs.get("params"):
        url = url.update_query(params)
    loop = asyncio.get_running_loop()
    headers = session._prepare_headers(kwargs.get("headers"))  # noqa: SLF001 - with its own
    kind: Any = session._response_class  # noqa: SLF001 - the app's own, perhaps
    said: dict[str, Any] = {
        "writer": None,
        "continue100": None,
        "timer": None,
        "request_info": module.RequestInfo(url, method, _proxy(headers), url),
        "traces": [],
        "loop": loop,
        "session": session,
        "stream_writer": SimpleNamespace(output_size=0),
    }
    taken = inspect.signature(module.ClientResponse.__init__).parameters  # they differ from release to release
    response = kind(method, url, **{name: value for name, value in said.items() if name in taken})
    response.version, response.status, response.reason = module.http.HttpVersion11, STATUS_CODE, REASON
    response._headers = _proxy(type(headers)(refusal.headers))  # noqa: SLF001 - there is no public way to set it
    response._raw_headers = tuple((name.encode(), value.encode()) for name, value in refusal.headers.items())  # noqa: SLF001
    content = module.StreamReader(module.base_protocol.BaseProtocol(loop), 2**16, loop=loop)
    content.feed_data(refusal.content)
    content.feed_eof()
    response.content = content
    return response


def noted(response: Any, notice: str) -> None:
    """Add the header to a response; nothing where it cannot be added."""
    headers = response._headers.copy()  # noqa: SLF001 - what `headers` gives
    headers[NOTICE] = notice
    response._headers = type(response._headers)(headers)  # noqa: SLF001
    response._cache.pop("headers", None)  # noqa: SLF001 - of its properties


def _proxy(headers: Any) -> Any:
    multidict: Any = sys.modules["multidict"]  # aiohttp is made of it
    return multidict.CIMultiDictProxy(headers)
