"""What the requests and refusals of all OpenAI operations have in common, whoever answers them."""

import itertools
from collections.abc import Iterable
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.values import AttributeValue, Row, attributes, error_type, integer, text
from spanledger_instrumentation.providers.wire import Request

__all__ = ["choice_count", "output_type", "read", "read_error"]

_IN_PATH: Final = ("deployments", "engines")
_AZURE_INFERENCE: Final = ".services.ai.azure.com"


def read(request: Request, rows: Iterable[Row]) -> dict[str, AttributeValue]:
    """Read the attributes of a request: of its body, and what its path says of the model.

    Shape: /openai/deployments/{deployment}/chat/completions, /engines/{model}/completions; a deployment's name stands
           for the model where the body has none. On a host of Azure's AI services, /models/... is the model inference
           API, which the conventions tell apart from Azure OpenAI.
    Source: openai 3.54 lib/azure.py (November 2026).
    """
    found = attributes(request.document, rows)
    segments = request.segments
    if "models" in segments and request.host.endswith(_AZURE_INFERENCE):
        found[names.PROVIDER_NAME] = "azure.ai.inference"
    for parent, name in itertools.pairwise(segments[:-1]):
        if parent in _IN_PATH and (deployment := text(name)) is not None:
            found.setdefault(names.REQUEST_MODEL, deployment)
            if parent == "deployments":
                found[names.DEPLOYMENT] = deployment
    return found


def choice_count(value: object) -> int | None:
    """Read `n`, which is worth saying only if it is not 1."""
    found = integer(value)
    return None if found == 1 else found


def output_type(value: object) -> str | None:
    """Read the type of a response format as the conventions name it."""
    return {"text": "text", "json_object": "json", "json_schema": "json"}.get(text(value) or "")


def read_error(document: Document) -> str | None:
    """Read why a request was refused.

    Shape: {"error": {"code": "model_not_found" | null, "type": "invalid_request_error", "message": ...}}; Mistral's
           stands on the first level: {"object": "error", "type": "invalid_model", "code": "1500", "message": ...}
    Source: openai 3.54 types/shared/error_object.py; recorded answers of Mistral (November 2026).
    """
    nested = error_type(document.read("error", "code"), document.read("error", "type"))
    return nested or (error_type(document.read("type")) if document.read("object") == "error" else None)
