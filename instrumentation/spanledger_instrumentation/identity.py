"""A request -> the attributes that say who sends it: for whom, by which key, and whether it was sent before."""

from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation import attribution, credentials
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.following import Outgoing
from spanledger_instrumentation.providers.values import AttributeValue, text
from spanledger_instrumentation.request_hash import request_hash
from spanledger_instrumentation.settings import Settings

__all__ = ["of_request"]

_HEADERS: Final = (("openai-organization", names.ORGANIZATION), ("openai-project", names.PROVIDER_PROJECT))
"""What an app with several of them chooses by; where the answer names them, too, its names count."""


def of_request(outgoing: Outgoing, document: Document, settings: Settings) -> dict[str, AttributeValue]:
    """Give the attributes of the sender."""
    headers = outgoing.headers
    found: dict[str, AttributeValue] = {**attribution.of_call(headers, settings.headers, settings.baggage_keys)}
    credential = credentials.credential_of(headers, outgoing.target.partition(b"?")[2])
    if credential is not None:
        found.update(credentials.fingerprint(credential, settings.hash_key))
    if settings.request_hash:
        digest = request_hash(outgoing, document, settings.hash_key, credential)
        if digest is not None:
            found[names.REQUEST_HASH] = digest
    for header, name in _HEADERS:
        if header in headers and (said := text(headers[header])) is not None:
            found[name] = said
    return found
