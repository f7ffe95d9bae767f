"""The credential of a request -> a fingerprint that tells keys apart, and never the key.

An API key is long and random, so that a hash of it cannot be turned back; with a secret of the user's own as the hash's
key nobody else can even tell whether a key that they hold is the one. Hashing takes about a microsecond: nothing is
cached, since a cache would hold keys for longer than the app does.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final, NamedTuple
from urllib.parse import unquote

from spanledger_instrumentation import attributes as names

__all__ = ["HASH_BYTES", "HEADERS", "KEY_CHARS_MIN", "Credential", "credential_of", "fingerprint", "hash_key"]

HASH_BYTES: Final = 16
KEY_CHARS_MIN: Final = 16
"""A shorter key may be a word that somebody chose and others can guess: no last four, and no hash without a secret."""
KEY_CHARS_MAX: Final = 1024
_LAST: Final = 4
_KEY_HEADERS: Final = ("x-api-key", "api-key", "x-goog-api-key")
HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie", *_KEY_HEADERS})
"""Headers whose values are secrets."""
_AWS: Final = "AWS4-HMAC-SHA256 "
_CREDENTIAL: Final = "Credential="
_FLEETING: Final = ("ya29.", "sk-ant-oat", "bedrock-api-key-", "ASIA")
"""Tokens of Google's and Anthropic's OAuth, short-lived keys of Bedrock and of AWS: another one every hour or so.

Source: google-auth 2.x credentials, anthropic's `Authorization` of subscription logins, AWS IAM's prefixes of unique
ids and aws-bedrock-token-generator (read in November 2026).
"""
_JSON: Final = "eyJ"
"""How the base64 of a JSON object begins, and so every JSON web token: another one every hour or so."""


class Credential(NamedTuple):
    """A credential that lasts. A tuple, since that is twice as fast to make."""

    text: str
    secret: bool
    """Whether it is one: an AWS access key id only names the secret that signs."""

    def __repr__(self) -> str:
        return "Credential(...)"


def credential_of(headers: Mapping[str, str], query: bytes) -> Credential | None:
    """Find the credential of a request; `None` where it has none, or none that lasts."""
    authorization = headers.get("authorization")
    if authorization is not None and (found := _of_authorization(authorization)) is not None:
        return found
    for name in _KEY_HEADERS:
        if (key := headers.get(name)) is not None:
            return _lasting(key.strip())
    return _of_query(query) if b"key=" in query else None


def hash_key(secret: str) -> bytes:
    """Turn the user's secret, of any length, into the key of our hashes; no secret is an empty key."""
    return blake2b(secret.encode(errors="surrogatepass"), digest_size=32).digest() if secret else b""


def fingerprint(credential: Credential, key: bytes) -> Mapping[str, str]:
    """Give the attributes that tell this credential from others."""
    text = credential.text
    found: dict[str, str] = {}
    if key or len(text) >= KEY_CHARS_MIN:
        # `person` separates these hashes from all others of the same bytes, also from ours of requests.
        digest = blake2b(text.encode(), digest_size=HASH_BYTES, key=key, person=b"spanledger.key")
        found[names.API_KEY_HASH] = digest.hexdigest()
    if len(text) >= KEY_CHARS_MIN:
        found[names.API_KEY_LAST4] = text[-_LAST:]
    return found


def _of_authorization(value: str) -> Credential | None:
    if value[:7].lower() == "bearer ":
        return _lasting(value[7:].strip())
    return _signer(value) if value.startswith(_AWS) else None


def _lasting(key: str, *, secret: bool = True) -> Credential | None:
    if not 0 < len(key) <= KEY_CHARS_MAX or not key.isascii() or not key.isprintable():
        return None
    fleeting = key.startswith(_FLEETING) or (key.startswith(_JSON) and "." in key)
    return None if fleeting else Credential(key, secret)


def _signer(authorization: str) -> Credential | None:
    """Read the access key id.

    Shape: AWS4-HMAC-SHA256 Credential=AKIA.../20261122/us-east-1/bedrock/aws4_request, SignedHeaders=..., Signature=...
    Source: botocore auth.py, `SigV4Auth` (November 2026).
    """
    at = authorization.find(_CREDENTIAL)
    if at < 0:
        return None
    return _lasting(authorization[at + len(_CREDENTIAL) :].partition("/")[0], secret=False)


def _of_query(query: bytes) -> Credential | None:
    for pair in query.split(b"&"):
        if pair.startswith(b"key="):
            return _lasting(unquote(pair[4:].decode("latin-1")))
    return None
