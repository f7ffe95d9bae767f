"""Texts of figures (JSON, or Python's text of a dict) -> the figures and the id in them, and nothing else.

Some instrumentations put a call's figures, or its whole answer, into one attribute. Such a text is gone through token
by token, in one pass whatever it holds, and only numbers and ids at known places are taken out of it; what was said
never becomes a value.
"""

import re
from collections.abc import Iterator, Mapping

# Where a figure stands, as the keys that lead to it (list items have none) -> the class of usage, or `response_id`.
Paths = Mapping[str, str]

ID = "response_id"
# Classes that stand beside each other, not one in another: Anthropic's input tokens leave out those of the cache.
BARE = "bare_"
# An answer of OpenAI or Anthropic as they send it, or LangChain's around it.
ANSWER_ID: Paths = {"id": ID, "llm_output.id": ID, "generations.message.kwargs.response_metadata.id": ID}
# The usage of OpenAI (chat, responses), Anthropic, Gemini, Bedrock and Cohere as they send it.
PROVIDER: Paths = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "input_tokens": f"{BARE}input_tokens",
    "output_tokens": "output_tokens",
    "prompt_tokens_details.cached_tokens": "cache_read_tokens",
    "prompt_tokens_details.cache_write_tokens": "cache_write_tokens",
    "prompt_tokens_details.audio_tokens": "input_audio_tokens",
    "prompt_tokens_details.cache_creation_token_details.ephemeral_5m_input_tokens": "cache_write_5m_tokens",
    "prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens": "cache_write_1h_tokens",
    "completion_tokens_details.reasoning_tokens": "reasoning_tokens",
    "completion_tokens_details.audio_tokens": "output_audio_tokens",
    "input_tokens_details.cached_tokens": "cache_read_tokens",
    "input_tokens_details.cache_write_tokens": "cache_write_tokens",
    "output_tokens_details.reasoning_tokens": "reasoning_tokens",
    "output_tokens_details.thinking_tokens": "reasoning_tokens",
    "cache_read_input_tokens": f"{BARE}cache_read_tokens",
    "cache_creation_input_tokens": f"{BARE}cache_write_tokens",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m_tokens",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h_tokens",
    "server_tool_use.web_search_requests": "web_search_requests",
}
LANGCHAIN_INPUT: Paths = {
    "cache_read": "cache_read_tokens",
    "cache_creation": "cache_write_tokens",
    "audio": "input_audio_tokens",
    "ephemeral_5m_input_tokens": "cache_write_5m_tokens",
    "ephemeral_1h_input_tokens": "cache_write_1h_tokens",
}
LANGCHAIN_OUTPUT: Paths = {"reasoning": "reasoning_tokens", "audio": "output_audio_tokens"}
LANGCHAIN: Paths = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    **{f"input_token_details.{key}": name for key, name in LANGCHAIN_INPUT.items()},
    **{f"output_token_details.{key}": name for key, name in LANGCHAIN_OUTPUT.items()},
}
# Langfuse's own names: each class for itself, none in another.
LANGFUSE: Paths = {
    "input": f"{BARE}input_tokens",
    "output": f"{BARE}output_tokens",
    "input_cached_tokens": f"{BARE}cache_read_tokens",
    "input_cache_read": f"{BARE}cache_read_tokens",
    "input_cache_creation": f"{BARE}cache_write_tokens",
    "output_reasoning_tokens": f"{BARE}reasoning_tokens",
    "output_reasoning": f"{BARE}reasoning_tokens",
}
MLFLOW: Paths = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
    "cache_creation_input_tokens_above_1hr": "cache_write_1h_tokens",
}
ANSWER: Paths = {"id": ID, **{f"usage.{path}": name for path, name in PROVIDER.items()}}
VERCEL: Paths = {
    f"{provider}.{path}": name
    for provider, paths in {
        "anthropic": {
            "cacheCreationInputTokens": "cache_write_tokens",
            "cacheReadInputTokens": "cache_read_tokens",
            "usage.cache_creation_input_tokens": "cache_write_tokens",
            "usage.cache_read_input_tokens": "cache_read_tokens",
            "usage.cache_creation.ephemeral_5m_input_tokens": "cache_write_5m_tokens",
            "usage.cache_creation.ephemeral_1h_input_tokens": "cache_write_1h_tokens",
        },
        "bedrock": {
            "usage.cacheReadInputTokens": "cache_read_tokens",
            "usage.cacheWriteInputTokens": "cache_write_tokens",
        },
        "openai": {"cachedPromptTokens": "cache_read_tokens", "reasoningTokens": "reasoning_tokens"},
        "azure": {"cachedPromptTokens": "cache_read_tokens", "reasoningTokens": "reasoning_tokens"},
        "google": {
            "usageMetadata.cachedContentTokenCount": "cache_read_tokens",
            "usageMetadata.thoughtsTokenCount": "reasoning_tokens",
        },
    }.items()
    for path, name in paths.items()
}
HAYSTACK: Paths = {
    f"{place}.usage.{path}": name
    for place in ("replies.meta", "replies._meta", "meta")
    for path, name in PROVIDER.items()
}
HAYSTACK_COMPONENTS = {
    "OpenAIGenerator": "chat",
    "OpenAIChatGenerator": "chat",
    "OpenAIResponsesChatGenerator": "chat",
    "AzureOpenAIGenerator": "chat",
    "AzureOpenAIChatGenerator": "chat",
    "AnthropicGenerator": "chat",
    "AnthropicChatGenerator": "chat",
    "OpenAITextEmbedder": "embeddings",
    "OpenAIDocumentEmbedder": "embeddings",
}

_TOKENS_MAX = 8192
_DEPTH_MAX = 32
_TOKEN = re.compile(
    r"""\s*(?:
      "(?P<double>[^"\\]*(?:\\.[^"\\]*)*)" | '(?P<single>[^'\\]*(?:\\.[^'\\]*)*)'
    | (?P<open>[{\[(]) | (?P<close>[}\])]) | (?P<colon>[:=]) | (?P<word>[^\s"'{}\[\]():=,]+) | (?P<comma>,)
    )""",
    re.DOTALL | re.VERBOSE,
)
_QUOTED_CHARS_MAX = 256


def read(text: str, paths: Paths) -> dict[str, str]:
    """Return what stands at the paths, by class: texts of numbers, and the id.

    A text that is cut, nested too deep or no document at all gives what could be read before its end. Of two figures of
    one class the first that is not zero counts.
    """
    found: dict[str, str] = {}
    for path, value, quoted in _leaves(text):
        name = paths.get(path)
        if name is None or (name == ID and not quoted) or value in {"null", "None", "true", "false", "True", "False"}:
            continue
        if found.get(name, "0") == "0":
            found[name] = value
    return found


def inclusive(figures: dict[str, int]) -> dict[str, int]:
    """Return figures whose totals include their parts, from those that may stand beside each other."""
    whole = {name: figure for name, figure in figures.items() if not name.startswith(BARE)}
    bare = {name.removeprefix(BARE): figure for name, figure in figures.items() if name.startswith(BARE)}
    if "input_tokens" in bare and "input_tokens" not in whole:
        whole["input_tokens"] = sum(
            bare.get(name, 0) for name in ("input_tokens", "cache_read_tokens", "cache_write_tokens")
        )
    if "output_tokens" in bare and "output_tokens" not in whole:
        whole["output_tokens"] = bare["output_tokens"] + bare.get("reasoning_tokens", 0)
    return bare | whole


def unquoted(text: str) -> str:
    """Return a text that is written as JSON writes it, in quotes, without them."""
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' and "\\" not in text else text


def _leaves(text: str) -> Iterator[tuple[str, str, bool]]:
    """Yield the path of every value that is no container, the value's text, and whether it was quoted."""
    place = _Place()
    word, quoted = "", False
    for kind, token in _tokens(text):
        if kind in {"double", "single", "word"}:
            word, quoted = token, kind != "word"
            continue
        if kind == "colon":
            place.key, word = word, ""
            continue
        if word and place.key and kind != "open":  # items of a list have no place of their own
            yield place.path, word, quoted
        word = ""
        if not place.after(kind):
            return


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    for _ in range(_TOKENS_MAX):
        token = _TOKEN.match(text, position)
        if token is None or token.lastgroup is None:
            return
        position = token.end()
        kind = token.lastgroup
        # A longer text is neither a key nor an id; what it says is not even copied.
        short = token.end(kind) - token.start(kind) <= _QUOTED_CHARS_MAX
        yield kind, token[kind] if short else ""


class _Place:
    """Where in a document we are."""

    def __init__(self) -> None:
        self._stack: list[str] = []
        self._base = ""
        self.key = ""

    @property
    def path(self) -> str:
        return f"{self._base}.{self.key}" if self._base else self.key

    def after(self, kind: str) -> bool:
        """Go on behind a comma or bracket; tell whether there can be more."""
        if kind == "open":
            if len(self._stack) >= _DEPTH_MAX:
                return False
            self._stack.append(self._base)
            self._base = self.path if self.key else self._base
        elif kind == "close":
            if not self._stack:
                return False
            self._base = self._stack.pop()
        self.key = ""
        return True
