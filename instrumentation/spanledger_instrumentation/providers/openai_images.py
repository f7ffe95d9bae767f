"""OpenAI images (generations, edits, variations), also as xAI and others speak them: request, answer and stream.

Shape: {"created", "data": [{"b64_json" | "url"}], "quality", "size", "usage": {"input_tokens", "output_tokens",
       "input_tokens_details": {"text_tokens", "image_tokens"}, "output_tokens_details", "total_tokens"},
       "svg_usage": {"model", "input_tokens", "output_tokens", "reasoning_tokens"}}; streamed, the last event of each
       image has its usage. dall-e gives none: it is billed by image, size and quality. xAI's is {"cost_in_usd_ticks"}.
Source: openai 3.54 types/images_response.py, image_gen_completed_event.py, image_edit_completed_event.py (November
2026); the recorded answer of an xAI image.
"""

import re
from typing import Final, cast

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.openai_chat import read_head
from spanledger_instrumentation.providers.openai_request import choice_count, read, read_error
from spanledger_instrumentation.providers.openai_usage import read_usage
from spanledger_instrumentation.providers.values import (
    AttributeValue,
    Row,
    count,
    error_type,
    integer,
    members,
    text,
    word,
)
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer, Usage

__all__ = ["WIRE", "ImageStream", "read_answer", "read_request"]

IMAGES_MAX: Final = 1000
"""More images than that were not asked for in one call: the number is nonsense."""
_SIZE: Final = re.compile(r"\d{1,5}x\d{1,5}|auto")


def _size(value: object) -> str | None:
    found = text(value)
    return found if found is not None and _SIZE.fullmatch(found) else None


_REQUEST: Final[tuple[Row, ...]] = (
    (names.REQUEST_MODEL, ("model",), text),
    (names.REQUEST_CHOICE_COUNT, ("n",), choice_count),
    (names.IMAGE_SIZE, ("size",), _size),
    (names.IMAGE_QUALITY, ("quality",), word),
)
_SVG: Final = (
    (names.SVG_INPUT_TOKENS, "input_tokens"),
    (names.SVG_OUTPUT_TOKENS, "output_tokens"),
    (names.SVG_REASONING, "reasoning_tokens"),
)


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return {**read(request, _REQUEST), names.OUTPUT_TYPE: "image"}


def asked(request: Request) -> Usage:
    """Count the images asked for, which are billed where the answer has no usage of its own."""
    number = count(request.document.read("n"))
    return Usage(output_images=1 if number is None or not 0 < number <= IMAGES_MAX else number)


def read_answer(document: Document) -> Answer:
    """Read a whole answer."""
    answer = Answer(model=text(document.read("model")), usage_final=True)
    data = document.read("data")
    answer.begun = document.has("data") or document.has("usage")
    _take(answer, document)
    usage = answer.usage
    if isinstance(data, list) and (usage is None or usage.input_tokens is None):
        answer.usage = usage or Usage()
        answer.usage.output_images = len(cast("list[object]", data))
    elif not answer.begun:
        answer.usage = Usage()  # nothing is known of another shape, and the request shall not speak for it
    return answer


class ImageStream:
    """Read the events of a stream: the last one of an image has usage, behind the whole image.

    Only models that are billed by tokens stream, so that the number of images asked for says nothing of a stream. What
    the usage of a second image means, beside the first one's, is documented nowhere: the figures are then partial.
    """

    def __init__(self) -> None:
        self.answer = Answer(usage=Usage())

    def event(self, data: bytes, tail: bytes) -> bool:
        """Take an event."""
        answer = self.answer
        if data.startswith(b"[DONE]"):
            answer.done = answer.usage_final = True
            return True
        document = Document(data, tail)
        kind = document.read("type")
        if kind in ("image_generation.completed", "image_edit.completed"):
            answer.beside = bool(answer.finish_reasons)
            answer.begun = True
            _take(answer, document)
            answer.finish_reasons = ("completed",)
            return True
        if error := document.read("error"):
            answer.error_type = error_type(members(error).get("code"), members(error).get("type")) or "_OTHER"
            return True
        answer.begun = answer.begun or kind is not None
        return False


def _take(answer: Answer, document: Document) -> None:
    if usage := members(document.read("usage")):
        answer.usage = read_usage(usage)
    for name, value in (
        (names.IMAGE_SIZE, _size(document.read("size"))),
        (names.IMAGE_QUALITY, word(document.read("quality"))),
    ):
        if value is not None:
            answer.details[name] = value
    _take_svg(answer, document)


def _take_svg(answer: Answer, document: Document) -> None:
    """Take what the model used that writes an SVG: another one than draws, at other prices, in no other figure."""
    svg = members(document.read("svg_usage"))
    for name, member in _SVG:
        if (figure := integer(svg.get(member))) is not None:
            answer.details[name] = figure
            answer.beside = True
    if (model := text(svg.get("model"))) is not None:
        answer.details[names.SVG_MODEL] = model


WIRE: Final = Wire(
    provider="openai",
    operation="image_generation",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    stream=ImageStream,
    read_head=read_head,
    asked=asked,
)
