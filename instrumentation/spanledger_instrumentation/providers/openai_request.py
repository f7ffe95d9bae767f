"""What the requests and refusals of all OpenAI operations have in common."""

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.values import error_type, integer, text

__all__ = ["choice_count", "output_type", "read_error"]


def choice_count(value: object) -> int | None:
    """Read `n`, which is worth saying only if it is not 1."""
    found = integer(value)
    return None if found == 1 else found


def output_type(value: object) -> str | None:
    """Read the type of a response format as the conventions name it."""
    return {"text": "text", "json_object": "json", "json_schema": "json"}.get(text(value) or "")


def read_error(document: Document) -> str | None:
    """Read why a request was refused.

    Shape: {"error": {"code": "model_not_found" | null, "type": "invalid_request_error", "message": ...}}
    Source: openai 3.54 types/shared/error_object.py (November 2026).
    """
    return error_type(document.read("error", "code"), document.read("error", "type"))
