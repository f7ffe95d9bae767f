"""The prompt cache: blocks of a prompt -> how many of its tokens were read, and how many written."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from spanledger_demo.provider.figures import count_tokens

# Both vendors cache nothing below this, and OpenAI counts in steps of 128 from there.
# Source: https://platform.openai.com/docs/guides/prompt-caching and
# https://platform.claude.com/docs/en/build-with-claude/prompt-caching, as known in November 2026.
CACHED_TOKENS_MIN = 1024
OPENAI_STEP_TOKENS = 128

Ttl = Literal["5m", "1h"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Hold one piece of a prompt: a system text, a message, a tool. `ttl` is set where the request marks the cache."""

    text: str
    ttl: Ttl | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """Hold what the cache did for one prompt.

    Units: tokens; parts of the prompt.
    """

    read_tokens: int = 0
    write_5m_tokens: int = 0
    write_1h_tokens: int = 0


class PromptCache:
    """Remember which beginnings of prompts were seen; the least recently used go first, and time never passes."""

    def __init__(self, prefixes_max: int = 4096) -> None:
        self._prefixes: OrderedDict[bytes, None] = OrderedDict()
        self._prefixes_max = prefixes_max

    def implicit(self, model: str, blocks: Sequence[Block]) -> CacheUse:
        """Use the cache as OpenAI does: without being asked, for all but the last block, and writing for free."""
        prefix = blocks[:-1]
        tokens = sum(count_tokens(block.text) for block in prefix)
        if tokens < CACHED_TOKENS_MIN or not self._seen(_key(model, prefix)):
            return CacheUse()
        return CacheUse(read_tokens=tokens // OPENAI_STEP_TOKENS * OPENAI_STEP_TOKENS)

    def explicit(self, model: str, blocks: Sequence[Block]) -> CacheUse:
        """Use the cache as Anthropic does: up to each mark, read what is known and write the rest."""
        read = 0
        written = {"5m": 0, "1h": 0}
        for end, block in enumerate(blocks, start=1):
            tokens = sum(count_tokens(b.text) for b in blocks[:end])
            if block.ttl is None or tokens < CACHED_TOKENS_MIN:
                continue
            if self._seen(_key(model, blocks[:end])):
                read, written = tokens, {"5m": 0, "1h": 0}
            else:
                written[block.ttl] += tokens - read - sum(written.values())
        return CacheUse(read_tokens=read, write_5m_tokens=written["5m"], write_1h_tokens=written["1h"])

    def clear(self) -> None:
        """Forget everything."""
        self._prefixes.clear()

    def _seen(self, key: bytes) -> bool:
        seen = key in self._prefixes
        self._prefixes[key] = None
        self._prefixes.move_to_end(key)
        if len(self._prefixes) > self._prefixes_max:
            self._prefixes.popitem(last=False)
        return seen


def _key(model: str, blocks: Sequence[Block]) -> bytes:
    digest = hashlib.sha256(model.encode())
    for block in blocks:
        digest.update(b"\0" + block.text.encode())
    return digest.digest()
