"""A request -> a keyed hash, by which identical calls are found without any of their text being kept.

Two requests are identical if they go to the same host and path, with the same key of the hash, and their JSON bodies
are the same bytes but for the members below. An SDK serialises what it is given always in the same way. What stands in
the hash's place of a key makes it useless to whoever wants to try out texts: without one there is no hash.
"""

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

from spanledger_instrumentation.credentials import Credential
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.following import Outgoing
from spanledger_instrumentation.providers.values import members

__all__ = ["BYTES_MAX", "request_hash"]

BYTES_MAX: Final = 256 * 1024
"""Of a longer body as much is hashed, half of it from each end, and its length."""
HASH_BYTES: Final = 16
_PERSON: Final = b"spanledger.req"
_IDLE: Final = frozenset(
    {"stream", "stream_options", "user", "metadata", "safety_identifier", "prompt_cache_key", "store"}
)
"""Members that do not change what the model answers: how it is sent, kept and labelled."""
_SECRET_CHARS_MIN: Final = 16
_SECRET_CHARS_MAX: Final = blake2b.MAX_KEY_SIZE
"""Of a longer key the end is taken: keys begin with words that all of them have."""

_COMMA, _SPACE = b", "
_MEMBER: Final = re.compile(b'"(' + b"|".join(sorted(name.encode() for name in _IDLE)) + b')":')
_VALUE: Final = re.compile(
    rb'\s*+(?:true|false|null|"(?:[^"\\]|\\.)*+"|\{(?:[^{}"]|"(?:[^"\\]|\\.)*+")*+\})\s*(?=[,}])', re.DOTALL
)
"""A value that may be left out: no number, and no object that holds another."""


def request_hash(outgoing: Outgoing, document: Document, key: bytes, credential: Credential | None) -> str | None:
    """Hash a request whose body is JSON, by the user's own key or, without one, by a key made of its API key."""
    content = outgoing.content
    if content[:1] != b"{":  # the boundary of a form is another one each time; of a generator there are no bytes
        return None
    if not key:
        if credential is None or not credential.secret or len(credential.text) < _SECRET_CHARS_MIN:
            return None
        key = credential.text[-_SECRET_CHARS_MAX:].encode()
    if not document.is_cut and not _IDLE.isdisjoint(whole := members(document.read())):
        content = _without_idle(content, whole)
    digest = blake2b(digest_size=HASH_BYTES, key=key, person=_PERSON)
    digest.update(b"%b\n%b\n" % (outgoing.host.encode(), outgoing.target.partition(b"?")[0]))
    if len(content) > BYTES_MAX:
        digest.update(b"%d\n" % len(content) + content[: BYTES_MAX // 2])
        content = content[-BYTES_MAX // 2 :]
    digest.update(content)
    return digest.hexdigest()


def _without_idle(content: bytes, whole: Mapping[str, object]) -> bytes:
    """Leave the idle members out; a nested one of the same name may change the answer, and with two both stay."""
    # A quote inside a JSON string is escaped: a bare quoted name and a colon are always a member.
    places: dict[bytes, re.Match[bytes] | None] = {}
    for found in _MEMBER.finditer(content):
        places[found[1]] = None if found[1] in places else found
    kept, at = b"", 0
    for name, place in places.items():
        if place is None or name.decode() not in whole or (value := _VALUE.match(content, place.end())) is None:
            continue
        start, end = place.start(), value.end()
        if start > at and content[start - 1] == _COMMA:
            start -= 1
        elif start > at + 1 and content[start - 2] == _COMMA:
            start -= 2
        elif content[end] == _COMMA:  # it is the first one
            end += 2 if content[end + 1] == _SPACE else 1
        kept += content[at:start]
        at = end
    return kept + content[at:]
