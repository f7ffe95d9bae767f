"""The one table of hosts and paths: which POST is an LLM call, and in which wire format.

A path that no other API has is enough on any host, so that compatible servers and gateways count. A path that others
use, too (`/responses` of a survey, `/v1/messages` of a messenger), needs a known host or a body of the right shape.
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
_RESPONSES: Final = (("model", "input"), ("model", "prompt"), ("prompt", "input"))
PATH_BYTES_MAX: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Lead from the end of a path to a wire format."""

    path: tuple[bytes, ...]
    """The last segments of the path."""
    wire: Wire
    hosts: Collection[str] = ()
    """Hosts, with their subdomains, that are known to speak it."""
    shapes: tuple[tuple[str, ...], ...] = ((),)
    """On any other host the body must have all members of one of these; by default the path is enough."""

    def leads(self, host: str, request: Document) -> bool:
        """Tell whether this request goes by this route; its path is known to match."""
        if any(host == name or host.endswith("." + name) for name in self.hosts):
            return True
        # Of a body that was cut, a member may be missing, but hardly all.
        enough = any if request.is_cut else all
        return any(not shape or enough(map(request.has, shape)) for shape in self.shapes)


_ROUTES: Final = (
    Route(path=(b"chat", b"completions"), wire=openai_chat.WIRE),
    Route(path=(b"responses",), wire=openai_responses.WIRE, hosts=_OPENAI_HOSTS, shapes=_RESPONSES),
    Route(path=(b"responses", b"compact"), wire=openai_responses.WIRE, hosts=_OPENAI_HOSTS, shapes=_RESPONSES),
    Route(path=(b"embeddings",), wire=openai_embeddings.WIRE, hosts=_OPENAI_HOSTS, shapes=(("model", "input"),)),
    Route(
        path=(b"v1", b"messages"),
        wire=anthropic_messages.WIRE,
        hosts=("anthropic.com",),
        shapes=(("model", "max_tokens"),),
    ),
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
