"""The one table of paths: which request is an LLM call, and in which wire format.

A path that no other API has is enough on any host, so that compatible servers and gateways count. A path that others
use, too (`/responses` of a survey, `/v1/messages` of a messenger), needs a known host or a body of the right shape.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from spanledger_instrumentation import batches
from spanledger_instrumentation.batches import BatchFormat
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import (
    anthropic_messages,
    bedrock_converse,
    bedrock_invoke,
    cohere_chat,
    cohere_chat_v1,
    cohere_embed,
    gemini,
    gemini_embeddings,
    gemini_interactions,
    mistral_conversations,
    mistral_ocr,
    ollama,
    openai_audio,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_images,
    openai_moderations,
    openai_responses,
    rerank,
    vertex_predict,
)
from spanledger_instrumentation.providers.wire import Wire

__all__ = ["Route", "find", "segments"]

PATH_BYTES_MAX: Final = 2048
PATHS_MAX: Final = 64
"""Paths of calls whose routes are remembered; a service has a handful of them."""
_ANY: Final = None
_OPENAI: Final = ("openai", "azure.ai.openai")
_MISTRAL: Final = ("mistral_ai",)
_COMPATIBLE: Final = (
    *_OPENAI,
    *(
        "azure.ai.inference",
        "aws.bedrock",
        "gcp.gemini",
        "gcp.vertex_ai",
        "mistral_ai",
        "groq",
        "openrouter",
        "deepseek",
    ),
    *(
        "x_ai",
        "together",
        "fireworks",
        "perplexity",
        "ollama",
        "portkey",
        "moonshot_ai",
        "cerebras",
        "baseten",
        "novita",
    ),
)
"""Who speaks OpenAI's formats on hosts of its own."""
_GOOGLE: Final = ("gcp.gemini", "gcp.vertex_ai")
_COHERE: Final = ("cohere",)
_OLLAMA: Final = ("ollama",)
_RERANKERS: Final = ("voyage", "jina", "together", "fireworks", "openrouter")
_RESPONSES: Final = (("model", "input"), ("model", "prompt"), ("prompt", "input"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Lead from the end of a path to a wire format."""

    path: tuple[str | None, ...]
    """The last segments of the path.

    `None` stands for any one, `*part*` for one that contains the part, `name:verb` for one that begins with the name,
    which may be empty, and ends with the verb. Where the last one is `None`, the route is found by the one before it.
    """
    wire: Wire
    providers: tuple[str, ...] = ()
    """Providers on whose hosts the path is enough."""
    only: bool = False
    """Whether no other host is believed, whatever its body."""
    shapes: tuple[tuple[str, ...], ...] = ((),)
    """On any other host the body must have all members of one of these; by default the path is enough."""
    late: bool = False
    """Whether the request only fetches, by its id, what an earlier call made. The id stands where any one may."""
    batch: BatchFormat | None = None
    """How the lines are to be read, where what is fetched is the results of a batch."""

    def matches(self, path: tuple[str, ...]) -> bool:
        """Tell whether a path ends as this one does."""
        if len(path) < len(self.path):
            return False
        pairs = zip(reversed(self.path), reversed(path), strict=False)
        return all(_fits(mine, theirs) for mine, theirs in pairs)

    def leads(self, provider: str | None, request: Document) -> bool:
        """Tell whether this request goes by this route; its path is known to match.

        `provider` is who answers on the host, if that is known.
        """
        if provider in self.providers:
            return True
        if self.only:
            return False
        # Of a body that was cut, a member may be missing, but hardly all.
        enough = any if request.is_cut else all
        return any(not shape or enough(map(request.has, shape)) for shape in self.shapes)


def _fits(mine: str | None, theirs: str) -> bool:
    if mine is None or mine == theirs:
        return True
    name, colon, verb = mine.rpartition(":")
    if colon:
        return theirs.startswith(name) and theirs.endswith(colon + verb)
    return mine[0] == "*" and mine[1:-1] in theirs


_BEDROCK: Final = ("aws.bedrock",)
_INVOKED: Final = (
    ("anthropic_version",),
    ("inputText",),
    ("messages",),
    ("prompt",),
    ("message",),
    ("texts",),
    ("taskType",),
    ("query", "documents"),
)
"""What the bodies of the vendors on Bedrock have: Anthropic, Titan, many, Llama, Cohere, image models, rerankers."""


def _invoked(last: str) -> tuple[Route, ...]:
    """Give the routes of one way to invoke a model on Bedrock, by what its id says of it."""
    return tuple(
        Route(path=("model", model, last), wire=wire, providers=_BEDROCK, shapes=_INVOKED)
        for model, wire in (
            ("*embed*", bedrock_invoke.EMBEDDINGS),
            ("*rerank*", bedrock_invoke.RERANK),
            ("*image*", bedrock_invoke.IMAGES),
            ("*canvas*", bedrock_invoke.IMAGES),
            ("*stability*", bedrock_invoke.IMAGES),
            (_ANY, bedrock_invoke.WIRE),
        )
    )


def _predicted() -> Iterator[Route]:
    """Give the routes of Vertex AI's predict, by what the model's name says of it: the verb has many uses."""
    for wire, models in (
        (
            vertex_predict.EMBEDDINGS,
            ("text-embedding", "textembedding", "text-multilingual-embedding", "gemini-embedding"),
        ),
        (vertex_predict.IMAGES, ("imagen", "imagegeneration", "virtual-try-on")),
    ):
        for model in models:
            yield Route(path=("models", f"{model}:predict"), wire=wire, providers=_GOOGLE, shapes=(("instances",),))


def _published() -> Iterator[Route]:
    """Give the routes of models of other makers in Vertex AI, which takes their own formats."""
    for verb in (":rawPredict", ":streamRawPredict"):
        # Counting tokens goes the same way, and has no `max_tokens`.
        yield Route(
            path=("publishers", "anthropic", "models", verb), wire=vertex_predict.ANTHROPIC, shapes=(("max_tokens",),)
        )
        for maker in ("mistralai", "ai21"):
            yield Route(
                path=("publishers", maker, "models", verb),
                wire=vertex_predict.OPENAI,
                shapes=(("messages",), ("prompt",)),
            )


_ROUTES: Final = (
    Route(path=(":generateContent",), wire=gemini.WIRE),
    Route(path=(":streamGenerateContent",), wire=gemini.WIRE),
    Route(path=(":embedContent",), wire=gemini_embeddings.WIRE),
    Route(path=(":batchEmbedContents",), wire=gemini_embeddings.WIRE),
    Route(
        path=("interactions",),
        wire=gemini_interactions.WIRE,
        providers=_GOOGLE,
        shapes=(("model", "input"), ("agent", "input")),
    ),
    *_predicted(),
    *_published(),
    Route(path=("v2", "chat"), wire=cohere_chat.WIRE, providers=_COHERE, shapes=(("model", "messages", "stream"),)),
    Route(path=("v1", "chat"), wire=cohere_chat_v1.WIRE, providers=_COHERE, shapes=(("model", "message", "stream"),)),
    Route(path=("v1", "generate"), wire=cohere_chat_v1.COMPLETIONS, providers=_COHERE, only=True),
    Route(path=("v1", "embed"), wire=cohere_embed.WIRE, providers=_COHERE, shapes=(("texts", "input_type"),)),
    Route(
        path=("v2", "embed"),
        wire=cohere_embed.WIRE,
        providers=_COHERE,
        shapes=(("model", "input_type", "embedding_types"),),
    ),
    Route(path=("v1", "rerank"), wire=cohere_embed.RERANK, providers=_COHERE, only=True),
    Route(path=("v2", "rerank"), wire=cohere_embed.RERANK, providers=_COHERE, only=True),
    Route(path=("v2", "parse"), wire=cohere_embed.PARSE, providers=_COHERE, only=True),
    Route(path=("api", "chat"), wire=ollama.WIRE, providers=_OLLAMA, shapes=(("model", "messages"),)),
    Route(path=("api", "generate"), wire=ollama.COMPLETIONS, providers=_OLLAMA, shapes=(("model", "prompt"),)),
    Route(path=("api", "embed"), wire=ollama.EMBEDDINGS, providers=_OLLAMA, shapes=(("model", "input"),)),
    Route(path=("api", "embeddings"), wire=ollama.EMBEDDINGS, providers=_OLLAMA, shapes=(("model", "prompt"),)),
    Route(path=("model", _ANY, "converse"), wire=bedrock_converse.WIRE, providers=_BEDROCK),
    Route(path=("model", _ANY, "converse-stream"), wire=bedrock_converse.WIRE, providers=_BEDROCK),
    *_invoked("invoke"),
    *_invoked("invoke-with-response-stream"),
    Route(path=("chat", "completions"), wire=openai_chat.WIRE),
    Route(path=("v1", "chat"), wire=openai_chat.WIRE, providers=("writer",), only=True),
    Route(
        path=("agents", "completions"), wire=openai_chat.WIRE, providers=_MISTRAL, shapes=(("agent_id", "messages"),)
    ),
    Route(
        path=("prompts", _ANY, "completions"), wire=openai_chat.WIRE, providers=("portkey",), shapes=(("variables",),)
    ),
    Route(path=("fim", "completions"), wire=openai_completions.WIRE, providers=_MISTRAL, shapes=(("model", "prompt"),)),
    Route(
        path=("deployments", _ANY, "completions"),
        wire=openai_completions.WIRE,
        providers=_OPENAI,
        shapes=(("prompt",),),
    ),
    Route(path=("completions",), wire=openai_completions.WIRE, providers=_COMPATIBLE, shapes=(("model", "prompt"),)),
    Route(path=("responses",), wire=openai_responses.WIRE, providers=_COMPATIBLE, shapes=_RESPONSES),
    Route(path=("responses", "compact"), wire=openai_responses.WIRE, providers=_COMPATIBLE, shapes=_RESPONSES),
    # Perplexity's own names for the two: docs.perplexity.ai/docs/grounded-llm/openai-compatibility (November 2026).
    Route(path=("v1", "agent"), wire=openai_responses.WIRE, providers=("perplexity",), only=True),
    Route(path=("v1", "sonar"), wire=openai_chat.WIRE, providers=("perplexity",), only=True),
    Route(
        path=("decisions",),
        wire=openai_responses.WIRE,
        providers=_OPENAI,
        shapes=(("model", "input", "questions"),),
    ),
    Route(
        path=("embeddings",),
        wire=openai_embeddings.WIRE,
        providers=(*_COMPATIBLE, "voyage", "jina"),
        shapes=(("model", "input"),),
    ),
    Route(
        path=("multimodalembeddings",),
        wire=openai_embeddings.WIRE,
        providers=("voyage",),
        shapes=(("model", "inputs"),),
    ),
    Route(
        path=("contextualizedembeddings",),
        wire=openai_embeddings.WIRE,
        providers=("voyage", "perplexity"),
        shapes=(("model", "inputs"), ("model", "input")),
    ),
    Route(path=("images", "generations"), wire=openai_images.WIRE, providers=_COMPATIBLE, shapes=(("prompt",),)),
    Route(path=("images", "edits"), wire=openai_images.WIRE, providers=_COMPATIBLE, shapes=(("prompt",),)),
    Route(path=("images", "variations"), wire=openai_images.WIRE, providers=_COMPATIBLE, shapes=(("model",),)),
    Route(path=("audio", "transcriptions"), wire=openai_audio.TRANSCRIPTION),
    Route(path=("audio", "translations"), wire=openai_audio.TRANSCRIPTION),
    Route(path=("audio", "speech"), wire=openai_audio.SPEECH, providers=_COMPATIBLE, shapes=(("input",),)),
    Route(path=("moderations",), wire=openai_moderations.FREE, providers=_OPENAI, only=True),
    Route(path=("moderations",), wire=openai_moderations.WIRE, providers=_MISTRAL, shapes=(("model", "input"),)),
    Route(path=("rerank",), wire=rerank.WIRE, providers=_RERANKERS, shapes=(("model", "query", "documents"),)),
    Route(path=("ocr",), wire=mistral_ocr.WIRE, providers=_MISTRAL, shapes=(("model", "document"),)),
    Route(path=("conversations",), wire=mistral_conversations.WIRE, providers=_MISTRAL, only=True),
    Route(path=("conversations", _ANY), wire=mistral_conversations.WIRE, providers=_MISTRAL, only=True),
    Route(path=("conversations", _ANY, "restart"), wire=mistral_conversations.WIRE, providers=_MISTRAL, only=True),
    Route(
        path=("v1", "messages"),
        wire=anthropic_messages.WIRE,
        providers=("anthropic",),
        shapes=(("model", "max_tokens"),),
    ),
)


# An answer of OpenAI's says whether it was made in the background; for others, and on any other host, this process must
# have seen that.
_FETCHING: Final = (
    Route(path=("responses", _ANY), wire=openai_responses.WIRE, providers=_OPENAI, only=True, late=True),
    Route(
        path=("files", _ANY, "content"),
        wire=openai_responses.WIRE,
        providers=_OPENAI,
        only=True,
        late=True,
        batch=batches.OPENAI,
    ),
    Route(path=("interactions", _ANY), wire=gemini_interactions.WIRE, only=True, late=True),
    Route(
        path=("messages", "batches", _ANY, "results"),
        wire=anthropic_messages.WIRE,
        late=True,
        batch=batches.ANTHROPIC,
    ),
)
_CANCELLING: Final = (
    Route(path=("responses", _ANY, "cancel"), wire=openai_responses.WIRE, providers=_OPENAI, only=True, late=True),
    Route(path=("interactions", _ANY, "cancel"), wire=gemini_interactions.WIRE, only=True, late=True),
)


def _collection(route: Route) -> str:
    name = route.path[route.path.index(_ANY) - 1]
    assert name is not None
    return re.escape(name)


def _table(routes: Iterable[Route]) -> Mapping[bytes, tuple[Route, ...]]:
    table: dict[bytes, tuple[Route, ...]] = {}
    for route in routes:
        named = route.path[-1]
        key = (f"/{route.path[-2]}/" if named is None else named[max(named.rfind(":"), 0) :]).encode()
        table[key] = (*table.get(key, ()), route)
    return table


_BY_METHOD: Final[Mapping[str, Mapping[bytes, tuple[Route, ...]]]] = {
    "POST": _table((*_ROUTES, *_CANCELLING)),
    "GET": _table(_FETCHING),
}
_FETCHED: Final = re.compile("/(?:{})/".format("|".join(sorted({_collection(each) for each in _FETCHING}))).encode())
"""What a request that only reads must hold to be worth a closer look: most requests of an app are such."""


def find(method: str, target: bytes) -> tuple[Route, ...]:
    """Find the routes of a request by its method and target, path and query, in the order in which to try them.

    For all requests that are no LLM calls this is the whole cost.
    """
    by_last_segment = _BY_METHOD.get(method)
    if by_last_segment is None or (method == "GET" and _FETCHED.search(target) is None):
        return ()
    path = target[:PATH_BYTES_MAX].partition(b"?")[0].rstrip(b"/")
    at = path.rfind(b"/") + 1
    last = path[at:]
    if last in by_last_segment:
        return _matching(method, last, path)
    if b":" in last and (verb := last[last.rfind(b":") :]) in by_last_segment:
        return _matching(method, verb, path)
    collection = path[path.rfind(b"/", 0, at - 1) : at] if at > 1 else b""
    return _matching(method, collection, path) if collection in by_last_segment else ()


@lru_cache(maxsize=PATHS_MAX)
def _matching(method: str, key: bytes, path: bytes) -> tuple[Route, ...]:
    whole = segments(path)
    return tuple(route for route in _BY_METHOD[method].get(key, ()) if route.matches(whole))


@lru_cache(maxsize=PATHS_MAX)
def segments(path: bytes) -> tuple[str, ...]:
    """Split a path; doubled slashes have been seen."""
    return tuple(unquote(segment) for segment in path.decode("latin-1").split("/") if segment)
