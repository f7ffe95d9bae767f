"""OpenAI's older text completions, and Mistral's fill-in-the-middle: a chat's answer to a bare prompt.

Shape: {"id", "model", "choices": [{"index", "text", "finish_reason"}], "usage": as a chat's}; streamed as a chat is.
Source: openai 3.54 types/completion.py; mistralai 3.7 fim.py, whose choices are a chat's (November 2026).
"""

from dataclasses import replace
from typing import Final

from spanledger_instrumentation.providers import openai_chat
from spanledger_instrumentation.providers.wire import Wire

__all__ = ["WIRE"]

WIRE: Final[Wire] = replace(openai_chat.WIRE, operation="text_completion")
