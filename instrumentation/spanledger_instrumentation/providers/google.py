"""What all requests, refusals and figures of Google's APIs have in common, the Gemini API's and Vertex AI's."""

from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.values import AttributeValue, count, entries, error_type, text, word
from spanledger_instrumentation.providers.wire import Request
from spanledger_instrumentation.usage import Usage

__all__ = ["add_modalities", "read_api", "read_error", "read_place"]

_MODALITIES: Final = frozenset({"text", "audio", "image", "video"})
"""Those that are counted apart. A document's tokens stay in the total, which has no part of its own for them."""
_VERTEX: Final = frozenset({"projects", "publishers"})
"""What only the paths of Vertex AI have: a gateway before it has a host of its own."""
_VERTEX_HOST: Final = "-aiplatform.googleapis.com"


def read_place(request: Request) -> dict[str, AttributeValue]:
    """Read what the path says: the model, the region, and which of the two APIs it is.

    Shape: /v1beta/models/{model}:{verb}, or
           /v1/projects/{project}/locations/{region}/publishers/{publisher}/models/{model}:{verb}; a tuned model stands
           below tunedModels or endpoints.
    Source: google-genai 3.4 _api_client.py, models.py; anthropic 2.12 lib/vertex/_client.py (November 2026).
    """
    found = read_api(request)
    *_, parent, last = ("", "", *request.segments)
    model = last.rpartition(":")[0]
    if (name := text(model if parent in ("models", "") else f"{parent}/{model}")) is not None:
        found[names.REQUEST_MODEL] = name
    return found


def read_api(request: Request) -> dict[str, AttributeValue]:
    """Read which of the two APIs it is, and of Vertex AI the region."""
    found: dict[str, AttributeValue] = {}
    if not _VERTEX.isdisjoint(request.segments):
        found[names.PROVIDER_NAME] = "gcp.vertex_ai"
        if (region := _region(request)) is not None:
            found[names.REGION] = region
    return found


def _region(request: Request) -> str | None:
    """Read the region of the path, or of a host such as us-central1-aiplatform.googleapis.com."""
    segments = request.segments
    if "locations" in segments[:-1]:
        return text(segments[segments.index("locations") + 1])
    return text(request.host.removesuffix(_VERTEX_HOST)) if request.host.endswith(_VERTEX_HOST) else None


def read_error(document: Document) -> str | None:
    """Read why a request was refused.

    Shape: {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": ...}}, for a stream without `alt=sse` as
           the only element of an array; of Interactions {"error": {"code": "invalid_request", "message": ...}}.
    Source: google-genai 3.4 errors.py; recorded answers (November 2026).
    """
    error = document.element().under("error")
    return error_type(error.read("status"), error.read("code"))


def add_modalities(usage: Usage, class_name: str, details: object, tokens: str = "tokenCount") -> None:
    """Add what a list of details says of the modalities of one class of tokens, such as `cache_read_input`.

    Shape: [{"modality": "TEXT", "tokenCount": 8}]; Interactions write {"modality": "text", "tokens": 8}.
    """
    for entry in entries(details):
        modality = (word(entry.get("modality")) or "").lower()
        figure = count(entry.get(tokens))
        if modality in _MODALITIES and figure is not None:
            name = f"{modality}_{class_name}_tokens"
            if hasattr(usage, name):
                setattr(usage, name, (getattr(usage, name) or 0) + figure)
