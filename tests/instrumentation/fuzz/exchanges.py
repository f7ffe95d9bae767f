"""Exchanges of any kind: every route, every fixture, whole or spoilt, and heads that tell the truth or lie."""

import gzip
import json
import os
import zlib
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.fuzz.corpus import fixtures
from tests.fuzz.targets import CONTENT_TYPES, ROUTES
from tests.instrumentation.fixtures import cut
from tests.instrumentation.fuzz.apps import READINGS, Exchange

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""More than CI has time for, and other ones each time: `make fuzz` sets it."""
HOSTS = ("api.openai.com", "api.anthropic.com", "api.cohere.com", "localhost", "example.com")
ODD_JSON = (
    b"[" * 20_000,
    b'{"a":' * 5_000,
    b'{"usage": {"prompt_tokens": NaN, "completion_tokens": Infinity, "total_tokens": -Infinity}}',
    b'{"usage": {"prompt_tokens": ' + b"9" * 5000 + b"}}",
    b'{"usage": {"prompt_tokens": 1e400, "completion_tokens": -0.0}}',
    b'{"usage": {"prompt_tokens": 1}, "usage": {"prompt_tokens": 2}, "id": "a", "id": ["b"]}',
    b'{"id": "\\ud800", "model": "\\udc00\\ud800", "usage": {"prompt_tokens": true}}',
    b'\xef\xbb\xbf{"usage": {"prompt_tokens": 1}}',
    b"\xff\xfe" + '{"usage": {}}'.encode("utf-16-le"),
    b'{"usage": [], "choices": {"0": 1}, "model": {"a": 1}, "id": 7}',
    b'{"usage": {"prompt_tokens": "1", "completion_tokens": null, "prompt_tokens_details": [[]]}}',
    b'data: {"usage": \n\ndata: {"choices": [5]}\n\ndata: [DONE]\n\n',
    b'data: {"choices": [{"finish_reason": {"a": []}}]}\r\rdata:\r\n: x\n\n',
    b"null",
    b"0",
    b'"',
    b"",
)


def bounded(examples: int) -> settings:
    """The same few examples each time on CI; as many new ones as `FUZZ_EXAMPLES` says elsewhere."""
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def spoilt(draw: Any) -> bytes:
    """A fixture in which a few bytes were changed, doubled or left out."""
    content = draw(st.sampled_from([content for _, _, content in fixtures()]))
    for _ in range(draw(st.integers(0, 3))):
        at, size = draw(st.integers(0, len(content))), draw(st.integers(0, 40))
        other = draw(
            st.sampled_from([b"", b"\n\n", b"null", b"-1", b"1e999", b"\xff", b'"', b"{", b"\0", b"[]", b"\r"])
        )
        content = draw(
            st.sampled_from(
                [content[:at] + other + content[at + size :], content[:at], content[:at] + content[at - size :]]
            )
        )
    return content


CONTENTS = st.one_of(
    st.sampled_from([content for _, _, content in fixtures()]),
    spoilt(),
    st.binary(max_size=300),
    st.sampled_from(ODD_JSON),
)
_ENCODERS = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes, "br": bytes, "x, gzip": gzip.compress}
_TYPES = st.one_of(
    st.sampled_from(CONTENT_TYPES).map(str.encode),
    st.sampled_from([b"TEXT/Event-Stream", b"text/event-stream;charset=\xff", b"application/json; x=\xe9", b";", b"/"]),
)


@st.composite
def answers(draw: Any) -> bytes:
    """The bytes of an HTTP answer, whose head need not fit its body."""
    body = draw(CONTENTS)
    status = draw(st.sampled_from([200, 200, 200, 200, 201, 204, 206, 304, 400, 429, 500, 529]))
    lines = [b"HTTP/1.1 %d X" % status, b"Content-Type: " + draw(_TYPES)]
    encoding = draw(st.sampled_from([None, None, None, None, *_ENCODERS]))
    if encoding is not None:
        lines.append(b"content-encoding: " + encoding.encode())
        body = draw(st.sampled_from([_ENCODERS[encoding](body), _ENCODERS[encoding](body)[:-5], body]))
    lines += draw(
        st.lists(
            st.sampled_from(
                [
                    b"x-ratelimit-remaining-tokens: \xff",
                    b"x-ratelimit-reset-tokens: 99999999999999999999",
                    b"retry-after: Fri, 99 Foo",
                    b"retry-after: 1e400",
                    b"x-request-id: \xc3\xa9\x80",
                    b"X-Odd: a\tb",
                    b"openai-processing-ms: nan",
                    b"anthropic-ratelimit-tokens-reset: 9999-99-99T99:99:99Z",
                    b"anthropic-ratelimit-tokens-limit: -1",
                    b"set-cookie: a=b",
                ]
            ),
            max_size=3,
        )
    )
    framing = draw(
        st.sampled_from(["length", "length", "chunked", "chunked", "close", "short", "long", "broken", "lost"])
    )
    if framing in ("chunked", "broken", "lost"):
        lines.append(b"Transfer-Encoding: chunked")
        parts = [part for part in cut(body, draw(st.lists(st.integers(0, 5000), max_size=6))) if part]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        body += {"chunked": b"0\r\n\r\n", "broken": b"zz\r\n", "lost": b"40\r\nabc"}[framing]
    elif framing != "close":
        lines.append(b"Content-Length: %d" % max(len(body) + {"length": 0, "short": -3, "long": 9}[framing], 0))
    return b"\r\n".join([*lines, b"", body])


@st.composite
def requested(draw: Any) -> tuple[str, bytes]:
    """A URL of some route, and a body that it may have."""
    route = draw(st.sampled_from([route for route in ROUTES if not route.late]))
    path = "".join("/" + ("m" if part is None else part.strip("*").replace(":", "m:", 1)) for part in route.path)
    shape = draw(st.sampled_from(route.shapes))
    body: dict[str, Any] = {name: [] for name in shape} | {
        "model": draw(st.sampled_from(["m", "\ud800", 5, None, "é" * 999]))
    }
    body |= draw(
        st.sampled_from([{}, {"stream": True}, {"stream": 1}, {"user": "u", "stream": False}, {"max_tokens": 10**400}])
    )
    content = json.dumps(body).encode()
    content = draw(st.one_of(st.just(content), st.just(content), st.sampled_from(ODD_JSON), st.binary(max_size=50)))
    return f"http://{draw(st.sampled_from(HOSTS))}{path}", content


@st.composite
def exchanges(draw: Any) -> Exchange:
    """An exchange of any kind."""
    url, body = draw(requested())
    answer = draw(answers())
    pieces = cut(answer, draw(st.lists(st.integers(0, 70_000), max_size=12)))
    return Exchange(
        url=url,
        body=body,
        pieces=tuple(piece for piece in pieces if piece),
        reading=draw(st.sampled_from(READINGS)),
        headers=draw(
            st.sampled_from([{}, {}, {"x-stainless-retry-count": "999999999"}, {"content-type": "text/plain"}])
        ),
    )
