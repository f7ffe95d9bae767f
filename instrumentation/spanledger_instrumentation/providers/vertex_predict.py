"""Vertex AI's predict, which embeds texts and makes images, and rawPredict, which takes other makers' formats.

Shape: embeddings {"predictions": [{"embeddings": {"statistics": {"token_count"}}}],
       "metadata": {"billableCharacterCount"}}; Imagen {"predictions": [{"bytesBase64Encoded" | "gcsUri" |
       "raiFilteredReason"}]}, where an image that was filtered out is not billed.
Source: google-genai 3.4 models.py, types.py `ContentEmbeddingStatistics`, `EmbedContentMetadata`; anthropic 2.12
lib/vertex/_client.py (November 2026).
"""

from dataclasses import replace
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import anthropic_messages, openai_chat
from spanledger_instrumentation.providers.google import read_error, read_place
from spanledger_instrumentation.providers.openai_request import choice_count
from spanledger_instrumentation.providers.values import (
    AttributeValue,
    count,
    entries,
    error_type,
    integer,
    members,
    total,
)
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer, Usage

__all__ = ["ANTHROPIC", "EMBEDDINGS", "IMAGES", "OPENAI", "read_embeddings", "read_images"]

IMAGES_BYTES_MAX: Final = 16 * 1024 * 1024
"""An answer with four images of the largest size."""


def read_embeddings_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request for embeddings."""
    found = read_place(request)
    if (dimensions := integer(request.document.read("parameters", "outputDimensionality"))) is not None:
        found[names.EMBEDDINGS_DIMENSION_COUNT] = dimensions
    return found


def read_embeddings(document: Document) -> Answer:
    """Read the embeddings of texts; how many tokens they had stands beside each."""
    predictions = entries(document.read("predictions"))
    statistics = (members(members(each.get("embeddings")).get("statistics")) for each in predictions)
    usage = Usage(
        input_tokens=total(*(count(each.get("token_count")) for each in statistics)),
        input_characters=count(members(document.read("metadata")).get("billableCharacterCount")),
    )
    return Answer(usage=usage, usage_final=True, begun=document.is_object)


def read_images_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request for images."""
    found = read_place(request)
    if (images := choice_count(request.document.read("parameters", "sampleCount"))) is not None:
        found[names.REQUEST_CHOICE_COUNT] = images
    return found


def read_images(document: Document) -> Answer:
    """Read how many images there are."""
    predictions = document.read("predictions")
    made = sum("bytesBase64Encoded" in each or "gcsUri" in each for each in entries(predictions))
    usage = Usage(output_images=made) if isinstance(predictions, list) else None
    return Answer(usage=usage, usage_final=True, begun=document.is_object)


def _streams(request: Request) -> bool:
    return request.segments[-1].endswith(":streamRawPredict")


def _read_anthropic_request(request: Request) -> dict[str, AttributeValue]:
    return {**anthropic_messages.read_request(request), **read_place(request)}


def _read_openai_request(request: Request) -> dict[str, AttributeValue]:
    return {**openai_chat.read_request(request), **read_place(request)}


def _read_anthropic_error(document: Document) -> str | None:
    return anthropic_messages.read_error(document) or read_error(document)


def _read_openai_error(document: Document) -> str | None:
    return read_error(document) or error_type(document.read("error", "type"), document.read("type"))


EMBEDDINGS: Final = Wire(
    provider="gcp.vertex_ai",
    operation="embeddings",
    read_request=read_embeddings_request,
    read_answer=read_embeddings,
    read_error=read_error,
    streams=lambda _: False,
)
IMAGES: Final = Wire(
    provider="gcp.vertex_ai",
    operation="image_generation",
    read_request=read_images_request,
    read_answer=read_images,
    read_error=read_error,
    streams=lambda _: False,
    answer_bytes_max=IMAGES_BYTES_MAX,
)
ANTHROPIC: Final = replace(
    anthropic_messages.WIRE,
    read_request=_read_anthropic_request,
    read_error=_read_anthropic_error,
    streams=_streams,
)
"""The model stands in the path and not in the body."""
OPENAI: Final = replace(
    openai_chat.WIRE, read_request=_read_openai_request, read_error=_read_openai_error, streams=_streams
)
"""Mistral's and AI21's models, which speak OpenAI's format."""
