"""What was put in place of the clients' own methods, so that it can be taken back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spanledger_instrumentation import late, opening
from spanledger_instrumentation.following import Following, Outgoing
from spanledger_instrumentation.providers.routes import Route
from spanledger_instrumentation.settings import Settings
from spanledger_instrumentation.spans import Spans

if TYPE_CHECKING:  # loaded where budgets are enforced
    from spanledger_instrumentation.enforcement import Enforcer

__all__ = ["Patches"]


class Patches:
    """Replace methods of the clients' classes, and restore them. Classes are `Any`: no client is a dependency."""

    def __init__(self, spans: Spans, settings: Settings, enforcer: "Enforcer | None" = None) -> None:
        self._spans = spans
        self._enforcer = enforcer
        self._settings = settings
        self._originals: list[tuple[Any, str, Any, Any]] = []
        self.active = True
        """False once reverted: what somebody has patched over stays in place, and must do nothing."""

    def begin(self, routes: Sequence[Route], outgoing: Outgoing) -> Following | None:
        """Begin to follow a request whose path leads somewhere, unless it is none of ours after all."""
        if routes[0].late:
            return late.begin(routes, outgoing, self._spans, self._settings)
        return opening.begin(routes, outgoing, self._spans, self._settings, self._enforcer)

    def has(self, owner: Any) -> bool:
        """Tell whether this class is patched already: a module may be seen twice, or under an alias."""
        return any(owner is patched for patched, _, _, _ in self._originals)

    def replace(self, owner: Any, name: str, replacement: Any) -> None:
        """Put a method in the place of a class's own."""
        self._originals.append((owner, name, getattr(owner, name), replacement))
        setattr(owner, name, replacement)

    def revert(self) -> None:
        """Restore every class. Where somebody has patched over us, our part stays in place and does nothing."""
        self.active = False
        for owner, name, original, replacement in self._originals:
            if owner.__dict__.get(name) is replacement:
                setattr(owner, name, original)
        self._originals.clear()
