"""OpenAI audio: transcriptions, translations and speech, also as Groq and Mistral speak them.

Shape: of a transcription {"text", "usage": {"type": "tokens", "input_tokens", "input_token_details": {"text_tokens",
       "audio_tokens"}, "output_tokens"} | {"type": "duration", "seconds"}}, `verbose_json` has {"duration"}, too; text,
       srt and vtt are bare text without usage. Mistral's has {"model", "usage": {"prompt_audio_seconds", ...}}.
       Speech is the audio itself, with no usage, billed by the characters that were sent; Mistral's {"audio_data"}.
       Streamed, all of them end with an event that has the usage: transcript.text.done, transcription.done (Mistral),
       speech.audio.done.
Source: openai 3.54 types/audio/transcription.py, transcription_verbose.py, transcription_text_done_event.py; mistralai
3.7 models/transcriptionstreamdone.py, speechstreamdone.py, usageinfo.py (November 2026).
"""

from collections.abc import Mapping
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.openai_chat import read_head
from spanledger_instrumentation.providers.openai_request import read, read_error
from spanledger_instrumentation.providers.openai_usage import read_usage
from spanledger_instrumentation.providers.values import AttributeValue, Row, error_type, members, number, text
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer, Usage

__all__ = ["SPEECH", "TRANSCRIPTION", "AudioStream"]

_TRANSCRIPTION: Final[tuple[Row, ...]] = (
    (names.REQUEST_MODEL, ("model",), text),
    (names.REQUEST_TEMPERATURE, ("temperature",), number),
)
_SPEECH: Final[tuple[Row, ...]] = ((names.REQUEST_MODEL, ("model",), text),)
_DONE: Final = frozenset({"transcript.text.done", "transcription.done", "speech.audio.done"})


def _read_transcription(request: Request) -> dict[str, AttributeValue]:
    return {**read(request, _TRANSCRIPTION), names.OUTPUT_TYPE: "text"}


def _read_speech(request: Request) -> dict[str, AttributeValue]:
    return {**read(request, _SPEECH), names.OUTPUT_TYPE: "speech"}


def _speech_streams(request: Request) -> bool:
    return request.document.read("stream_format") == "sse" or request.document.read("stream") is True


def _asked(request: Request) -> Usage | None:
    """Count the characters that speech is made of: what the answer, which is the audio, cannot tell."""
    spoken = request.document.read("input")
    return Usage(input_characters=len(spoken)) if isinstance(spoken, str) else None


def _read_text(document: Document) -> Answer:
    """Read a whole transcription."""
    answer = _read(document)
    answer.begun = document.has("text") or answer.usage is not None
    seconds = number(document.read("duration"))
    if answer.usage is None and answer.begun and seconds is not None and seconds >= 0:
        answer.usage = Usage(input_audio_s=seconds)
    return answer


def _read_audio(document: Document) -> Answer:
    """Read speech that came as JSON. Of another shape nothing is known, and the request shall not speak for it."""
    answer = _read(document)
    answer.begun = document.has("audio_data") or answer.usage is not None
    if not answer.begun:
        answer.usage = Usage()
    return answer


def _read(document: Document) -> Answer:
    answer = Answer(model=text(document.read("model")), usage_final=True)
    _take(answer, members(document.read("usage")))
    return answer


def _take(answer: Answer, usage: Mapping[str, object]) -> None:
    if usage:
        answer.usage = read_usage(usage)


class AudioStream:
    """Read the events of a stream; only the last one has figures. The audio and the text in between are not parsed."""

    def __init__(self) -> None:
        self.answer = Answer()

    def event(self, data: bytes, tail: bytes) -> bool:
        """Take an event."""
        answer = self.answer
        if data.startswith(b"[DONE]"):
            answer.done = answer.usage_final = True
            return True
        if b'.done"' not in data and b'.done"' not in tail and b'"error"' not in data:
            answer.begun = answer.begun or b'"type"' in data
            return False
        document = Document(data, tail)
        if text(document.read("type")) in _DONE:
            answer.begun = answer.done = answer.usage_final = True
            answer.model = text(document.read("model"))
            _take(answer, members(document.read("usage")))
            return True
        if error := document.read("error"):
            answer.error_type = error_type(members(error).get("code"), members(error).get("type")) or "_OTHER"
            return True
        return False


TRANSCRIPTION: Final = Wire(
    provider="openai",
    operation="transcription",
    read_request=_read_transcription,
    read_answer=_read_text,
    read_error=read_error,
    stream=AudioStream,
    read_head=read_head,
)
SPEECH: Final = Wire(
    provider="openai",
    operation="speech",
    read_request=_read_speech,
    read_answer=_read_audio,
    read_error=read_error,
    stream=AudioStream,
    streams=_speech_streams,
    read_head=read_head,
    asked=_asked,
)
