"""One vendor endpoint: request -> answer or error, each entered in the books the moment it is complete."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from spanledger_demo.provider.cache import PromptCache
from spanledger_demo.provider.draft import Draft, RequestError, draft
from spanledger_demo.provider.faults import FaultPlan, Faults
from spanledger_demo.provider.figures import NO_FIGURES, Figures
from spanledger_demo.provider.prices import cost_usd
from spanledger_demo.provider.tally import Answer, Tally
from spanledger_demo.provider.wire import Failure, Json, Wire

# A key that holds this text is refused, so that a client can be shown a 401.
WRONG_KEY = "wrong"


class BrokenOffError(Exception):
    """End an answer in the middle; the server then closes the connection."""


@dataclass(slots=True)
class Books:
    """Hold all that the provider remembers."""

    seed: int
    faults: Faults
    tally: Tally = field(default_factory=Tally)
    cache: PromptCache = field(default_factory=PromptCache)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))


def open_books(*, seed: int = 0, plan: FaultPlan | None = None) -> Books:
    """Begin with an empty tally."""
    return Books(seed=seed, faults=Faults(plan or FaultPlan(), seed=seed))


def endpoint(wire: Wire, books: Books) -> Callable[[Request], Awaitable[Response]]:
    """Make the handler of one endpoint."""

    async def answer(request: Request) -> Response:
        body = await request.body()
        await asyncio.sleep(books.faults.plan.latency_s)
        headers = dict(wire.headers(next(books.numbers), books.faults.plan.limits_used))
        model, outcome = _decide(wire, books, request, body)
        if isinstance(outcome, Failure):
            return _fail(wire, books, model, outcome, headers)
        if outcome.ask.stream:
            return StreamingResponse(_stream(wire, books, outcome), media_type="text/event-stream", headers=headers)
        books.tally.add(_complete(wire, outcome, stated=True))
        return JSONResponse(wire.answer(outcome), headers=headers)

    return answer


def _decide(wire: Wire, books: Books, request: Request, body: bytes) -> tuple[str, Draft | Failure]:
    """Decide between an answer and an error, in the order in which a vendor looks: key, capacity, request."""
    model = ""
    try:
        parsed = _parse_json(body)
        model = str(parsed.get("model", ""))
        if (failure := _refuse(wire, books, request)) is not None:
            return model, failure
        return model, draft(wire.parse(parsed), body, seed=books.seed, cache=books.cache)
    except RequestError as exc:
        return model, Failure(status=400, message=str(exc), param=exc.param, code=exc.code)
    except (AttributeError, TypeError, ValueError) as exc:
        # The one fence of the edge: a request of a wrong shape is the client's mistake, in any of its forms.
        return model, Failure(status=400, message=f"The request has a wrong shape: {exc}")


def _parse_json(body: bytes) -> Json:
    try:
        parsed = json.loads(body)
    except ValueError as exc:
        raise RequestError("We could not parse the JSON body of your request.") from exc
    if not isinstance(parsed, dict):
        raise RequestError("The JSON body of your request must be an object.")
    return parsed  # pyright: ignore[reportUnknownVariableType]  # JSON


def _refuse(wire: Wire, books: Books, request: Request) -> Failure | None:
    key = wire.credential(request.headers)
    if not key or WRONG_KEY in key:
        return Failure(status=401, message="")
    status = books.faults.error_for(wire.provider)
    return None if status is None else Failure(status=status, message="")


def _fail(wire: Wire, books: Books, model: str, failure: Failure, headers: dict[str, str]) -> Response:
    books.tally.add(Answer(provider=wire.provider, model=model, outcome="error", status=failure.status))
    if failure.status == 429:
        headers["retry-after"] = "1"
    return JSONResponse(wire.error(failure), status_code=failure.status, headers=headers)


async def _stream(wire: Wire, books: Books, sketch: Draft) -> AsyncIterator[bytes]:
    """Send the events one by one, and write the answer down just before a client can know that it is complete.

    1. All events go out: complete, entered before the last that a client needs.
    2. The plan breaks it off: interrupted, entered with the figures said so far before the break can be noticed.
    3. The client goes away: the same, once the server has noticed.
    """
    said: Figures | None = None
    entered = False
    cut = books.faults.cut_for_stream()
    try:
        for number, event in enumerate(wire.events(sketch)):
            if cut is not None and number == cut.after_events and not entered:
                books.tally.add(_interrupted(wire, sketch, said))
                entered = True
                if cut.how == "close":
                    raise BrokenOffError
                yield wire.error_event(Failure(status=500, message=""))
                return
            said = event.said or said
            if event.last:
                books.tally.add(_complete(wire, sketch, stated=said is not None))
                entered = True
            yield event.data
            await asyncio.sleep(books.faults.plan.event_interval_s)
    finally:
        if not entered:
            books.tally.add(_interrupted(wire, sketch, said))


def _complete(wire: Wire, sketch: Draft, *, stated: bool) -> Answer:
    return Answer(
        provider=wire.provider,
        model=sketch.model,
        outcome="complete",
        status=200,
        response_id=_response_id(wire, sketch),
        stream=sketch.ask.stream,
        stated=stated,
        figures=sketch.figures,
        cost_usd=sketch.cost_usd,
    )


def _interrupted(wire: Wire, sketch: Draft, said: Figures | None) -> Answer:
    """Charge for what was said; where nothing was, the charge is unknown, as it is with the real vendors."""
    return Answer(
        provider=wire.provider,
        model=sketch.model,
        outcome="interrupted",
        status=200,
        response_id=_response_id(wire, sketch),
        stream=True,
        figures=said or NO_FIGURES,
        cost_usd=cost_usd(sketch.model, sketch.tier, said) if said else None,
    )


def _response_id(wire: Wire, sketch: Draft) -> str | None:
    return wire.id_prefix + sketch.id if wire.id_prefix else None
