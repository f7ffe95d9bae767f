"""The head of an answer -> the ids by which a provider knows the call, and how close its limits are, as attributes."""

from collections.abc import Callable, Mapping
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation import rate_limits
from spanledger_instrumentation.providers.values import AttributeValue, text
from spanledger_instrumentation.rate_limits import Field
from spanledger_instrumentation.reset_times import number

__all__ = ["read"]

_REQUEST_IDS: Final = (
    "request-id",  # Anthropic
    "x-request-id",  # OpenAI, Groq, xAI: what their SDKs show
    "apim-request-id",  # Azure
    "x-amzn-requestid",  # Bedrock
    "mistral-correlation-id",
    "x-debug-trace-id",  # Cohere
    "x-together-traceid",
    "x-ds-trace-id",  # DeepSeek
    "inference-id",  # Cerebras
)
"""Where an answer has several, the first of these is the one to name to the provider."""
_Detail = tuple[str, Callable[[str], AttributeValue | None]]
_DETAILS: Final[Mapping[str, _Detail]] = {
    "openai-organization": (names.ORGANIZATION, text),
    "openai-project": (names.PROVIDER_PROJECT, text),
    "openai-processing-ms": (names.PROCESSING_MS, number),
    "anthropic-organization-id": (names.ANTHROPIC_ORGANIZATION_ID, text),
    "anthropic-workspace-id": (names.ANTHROPIC_WORKSPACE_ID, text),
    "x-ms-deployment-name": (names.DEPLOYMENT, text),
    "x-ms-region": (names.REGION, text),
    "x-groq-region": (names.REGION, text),
    "x-metrics-e2e-ms": (names.PROCESSING_MS, number),
}
_ROWS: Final[Mapping[str, _Detail | Field]] = {**_DETAILS, **rate_limits.FIELDS}
"""One table for one pass."""


def read(head: Mapping[str, str], provider: str, now_s: float) -> dict[str, AttributeValue]:
    """Read the head of an answer, by lower-case names, that came now.

    `provider` is who answers on the host, or the owner of the wire format.
    """
    found: dict[str, AttributeValue] = {}
    limits: list[tuple[Field, str]] = []
    for header, value in head.items():
        row = _ROWS.get(header)
        if row is None:
            continue
        if isinstance(row, Field):
            limits.append((row, value))
        elif (said := row[1](value)) is not None:
            found[row[0]] = said
    for header in _REQUEST_IDS:
        if header in head:
            if (said := text(head[header])) is not None:
                found[_request_id(header, provider)] = said
            break
    found.update(rate_limits.read(limits, head, provider, now_s))
    return found


def _request_id(header: str, provider: str) -> str:
    return names.ANTHROPIC_REQUEST_ID if header == "request-id" and provider == "anthropic" else names.REQUEST_ID
