"""Who a call is made for: what the app says with `attribute`, request headers and W3C baggage -> span attributes.

What `attribute` says lives in the OpenTelemetry context, and reaches wherever that does (docs/attribution.md).
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar, cast

from opentelemetry import baggage, context
from opentelemetry.context import Context

from spanledger_instrumentation import attributes as names

__all__ = ["CHARS_MAX", "DIMENSIONS", "Rows", "attribute", "of_call"]

P = ParamSpec("P")
R = TypeVar("R")
Rows = tuple[tuple[str, str], ...]
"""Where a value is found, a header's or a baggage entry's name, and the attribute that it becomes."""

CHARS_MAX: Final = 128
DIMENSIONS: Final[Mapping[str, str]] = {
    "user": names.USER_ID,
    "team": names.TEAM,
    "project": names.PROJECT,
    "feature": names.FEATURE,
    "session": names.SESSION_ID,
}
"""What a call can be attributed to, and the attribute of each."""
_DIGEST_BYTES: Final = 8
_KEY: Final = context.create_key("spanledger-attribution")


class _Frame:
    """One entry into an `attribute`: what holds inside it, and what to return to."""

    __slots__ = ("before", "context", "left", "outer", "owner", "values")

    def __init__(self, owner: object, outer: "_Frame | None", values: Mapping[str, str], before: Context) -> None:
        self.owner = owner
        self.outer = outer
        self.values = values
        self.before = before
        self.context = before
        self.left = False


class attribute:  # noqa: N801 - it is used like a function, as `contextlib.suppress` is
    """Attribute the LLM calls that are made inside to a user, a team, a project, a feature or a session.

    A context manager, sync and async, and a decorator of functions, coroutine functions and generators of both kinds;
    one object may be entered many times, also at once. Inside another one the inner values win, the others are
    inherited; `None` says nothing, an empty text takes an inherited value away. Beyond 128 characters a value is cut
    and ends with a digest of the whole, so that two long ones stay two.

    With `baggage=True` the values also travel to other services as W3C baggage, with every request that an
    OpenTelemetry instrumentation of an HTTP client sends in here: also with those to the model provider.

    Raises:
        TypeError: a value is no text. Say `str(...)` where an id is a number.
    """

    __slots__ = ("_baggage", "_values")

    def __init__(
        self,
        *,
        user: str | None = None,
        team: str | None = None,
        project: str | None = None,
        feature: str | None = None,
        session: str | None = None,
        baggage: bool = False,
    ) -> None:
        given = {"user": user, "team": team, "project": project, "feature": feature, "session": session}
        self._values = {DIMENSIONS[name]: _checked(name, value) for name, value in given.items() if value is not None}
        self._baggage = baggage

    def __enter__(self) -> None:
        """Attribute from here on, in this thread or task and those that inherit its context."""
        before = context.get_current()
        outer = _frame_of(before)
        inherited: Mapping[str, str] = {} if outer is None else outer.values
        values = {name: value for name, value in {**inherited, **self._values}.items() if value}
        frame = _Frame(self, outer, values, before)
        current = context.set_value(_KEY, frame, before)
        if self._baggage:
            for name, value in self._values.items():
                current = baggage.set_baggage(name, value, current) if value else baggage.remove_baggage(name, current)
        frame.context = current
        context.attach(current)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Return to what held before."""
        # 1. The usual case. 2. Somebody attached a context of their own in between and left it there: theirs stays,
        # ours goes. 3. Left in another order than entered: what is still inside goes on, and returns to what is left
        # of the outer ones. 4. Left in another context (a generator that is collected elsewhere): nothing to do there.
        # Never by `detach`, which logs an error in case 4.
        current = context.get_current()
        top = _frame_of(current)
        frame = top
        while frame is not None and (frame.owner is not self or frame.left):
            frame = frame.outer
        if frame is None or top is None:
            return
        frame.left = True
        if frame is top:
            context.attach(_returned(current, frame))

    async def __aenter__(self) -> None:
        """Attribute from here on, in this task and those that inherit its context."""
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Return to what held before."""
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Attribute all that the function does; a generator's body too, whoever asks for its next item."""
        wrap = next((wrap for applies, wrap in _WRAPPERS if applies(function)), _function)
        return cast("Callable[P, R]", wrap(self, function))


def of_call(headers: Mapping[str, str], header_rows: Rows, baggage_rows: Rows) -> Mapping[str, str]:
    """Give the attributes that say whom a call is made for: what the app says wins, then headers, then baggage."""
    frame = _frame_of(context.get_current())
    said: Mapping[str, str] = {} if frame is None else frame.values
    if not header_rows and not baggage_rows:
        return said
    found: dict[str, str] = {}
    for key, name in baggage_rows:
        if (value := baggage.get_baggage(key)) and isinstance(value, str):
            found[name] = _bounded(value)
    for header, name in header_rows:
        if value := headers.get(header):
            found[name] = _bounded(value)
    found.update(said)
    return {name: value for name, value in found.items() if value}


def _frame_of(of: Context) -> _Frame | None:
    frame = context.get_value(_KEY, of)
    return frame if isinstance(frame, _Frame) else None


def _returned(current: Context, frame: _Frame) -> Context:
    outer = frame.outer
    if current is frame.context and (outer is None or not outer.left):
        return frame.before
    while outer is not None and outer.left:
        outer = outer.outer
    restored = context.set_value(_KEY, outer, current)
    for name in baggage.get_all(frame.context).keys() & set(DIMENSIONS.values()):
        before = baggage.get_baggage(name, frame.before)
        restored = (
            baggage.remove_baggage(name, restored) if before is None else baggage.set_baggage(name, before, restored)
        )
    return restored


def _checked(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"attribute({name}=...) takes a str or None, not {type(value).__name__}: {value!r:.64}")
    return _bounded(value)


def _bounded(value: str) -> str:
    """Make a value fit for an attribute: printable and short, yet no two values one."""
    text = value.strip()
    if not text.isprintable():
        text = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[: CHARS_MAX + 1])
    if len(text) <= CHARS_MAX:
        return text
    digest = blake2b(value.encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{text[: CHARS_MAX - len(digest) - 1]}~{digest}"


# Each wrapper is of the kind of what it wraps: frameworks look whether a function is a coroutine's or a generator's.


def _function(attribution: attribute, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        with attribution:
            return function(*args, **kwargs)

    return called


def _coroutine_function(attribution: attribute, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        with attribution:
            return await function(*args, **kwargs)

    return awaited


def _generator_function(attribution: attribute, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def stepped(*args: Any, **kwargs: Any) -> Any:
        with attribution:
            generator = function(*args, **kwargs)
        resume: Callable[[], Any] = partial(next, generator)
        while True:  # each step runs inside; what the consumer sends, throws and closes is handed on
            try:
                with attribution:
                    item = resume()
            except StopIteration as end:
                return end.value
            try:
                resume = partial(generator.send, (yield item))
            except GeneratorExit:
                with attribution:
                    generator.close()
                raise
            except BaseException as error:  # noqa: BLE001 - it goes into the generator, and comes out again
                resume = partial(generator.throw, error)

    return stepped


def _async_generator_function(attribution: attribute, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def stepped(*args: Any, **kwargs: Any) -> Any:
        with attribution:
            generator = function(*args, **kwargs)
        resume: Callable[[], Any] = partial(anext, generator)
        while True:
            try:
                with attribution:
                    item = await resume()
            except StopAsyncIteration:
                return
            try:
                resume = partial(generator.asend, (yield item))
            except GeneratorExit:
                with attribution:
                    await generator.aclose()
                raise
            except BaseException as error:  # noqa: BLE001 - as above
                resume = partial(generator.athrow, error)

    return stepped


_WRAPPERS: Final = (
    (inspect.isasyncgenfunction, _async_generator_function),
    (inspect.isgeneratorfunction, _generator_function),
    (inspect.iscoroutinefunction, _coroutine_function),
)
