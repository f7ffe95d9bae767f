"""A request as a wire format gets it, made from a body and a path."""

import json
from typing import Any
from urllib.parse import urlsplit

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.routes import segments
from spanledger_instrumentation.providers.wire import Request


def request(body: Any, url: str = "https://llm.example.com/v1/chat/completions", **headers: str) -> Request:
    """Make a request; bytes stay as they are, anything else becomes JSON; `_` in a header's name stands for `-`."""
    parts = urlsplit(url)
    return Request(
        host=parts.hostname or "",
        segments=segments(parts.path.encode()),
        query=parts.query,
        document=Document(body if isinstance(body, bytes) else json.dumps(body).encode()),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
