"""The one table of hosts and paths: which POST is an LLM call, and in which wire format.

A path that no other API has is enough on any host, so that compatible servers and gateways count. A path that others
may use, too (`/responses` of a survey, say), needs a known host or a body of the right shape.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import anthropic_messages, openai_chat, openai_embeddings, openai_responses
from spanledger_instrumentation.providers.wire import Wire

__all__ = ["Route", "find"]

_OPENAI_HOSTS: Final = (
    "api.openai.com",
    "openai.azure.com",
    "cognitiveservices.azure.com",
    "services.ai.azure.com",
)
PATH_BYTES_MAX: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Lead from the end of a path to a wire format."""

    path: tuple[bytes, ...]
    """The last segments of the path."""
    wire: Wire
    hosts: Collection[str] = ()
    """Hosts, with their subdomains, that are known to speak it."""
    members: tuple[str, ...] = ()
    """On any other host the body must have one of these members; empty: the path is enough."""

    def leads(self, host: str, request: Document) -> bool:
        """Tell whether this request goes by this route; its path is known to match."""
        if not self.members or any(host == name or host.endswith("." + name) for name in self.hosts):
            return True
        return any(request.read(name) is not None for name in self.members)


_ROUTES: Final = (
    Route(path=(b"chat", b"completions"), wire=openai_chat.WIRE),
    Route(path=(b"responses",), wire=openai_responses.WIRE, hosts=_OPENAI_HOSTS, members=("model", "prompt")),
    Route(path=(b"embeddings",), wire=openai_embeddings.WIRE, hosts=_OPENAI_HOSTS, members=("model",)),
    Route(path=(b"v1", b"messages"), wire=anthropic_messages.WIRE),
)
_BY_LAST_SEGMENT: Final = {route.path[-1]: route for route in _ROUTES}


def find(target: bytes) -> Route | None:
    """Find the route of a POST by its request target, path and query. For all other requests this is the whole cost."""
    path = target[:PATH_BYTES_MAX].partition(b"?")[0].rstrip(b"/")
    route = _BY_LAST_SEGMENT.get(path.rpartition(b"/")[2])
    if route is None:
        return None
    segments = [segment for segment in path.split(b"/") if segment]  # doubled slashes have been seen
    return route if tuple(segments[-len(route.path) :]) == route.path else None
