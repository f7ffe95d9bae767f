"""Beside every other instrumentation, in their latest releases: one call is one account of it, with all its figures.

An account is a span with `spanledger.usage.status`. Where a peer keeps a second span with figures (it does so without
us, too), the ledger can tell: it has the account's response id or is around it.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers import peers

Span = dict[str, Any]
CHAT = {
    "gen_ai.response.id": "chatcmpl-A1",
    "gen_ai.usage.input_tokens": 1200,
    "gen_ai.usage.output_tokens": 340,
    "gen_ai.usage.cache_read.input_tokens": 1024,
    "gen_ai.usage.cache_write.input_tokens": 64,
    "gen_ai.usage.reasoning.output_tokens": 128,
    "gen_ai.usage.audio.input_tokens": 8,
    "gen_ai.usage.audio.output_tokens": 4,
    "gen_ai.usage.image.input_tokens": 16,
    "spanledger.usage.status": "reported",
}
RESPONSE = {
    "gen_ai.usage.input_tokens": 2000,
    "gen_ai.usage.output_tokens": 500,
    "gen_ai.usage.cache_read.input_tokens": 1500,
    "gen_ai.usage.cache_write.input_tokens": 300,
    "openai.usage.cache_write.ttl_30m_input_tokens": 200,
    "openai.usage.cache_write.ttl_12h_input_tokens": 100,
    "gen_ai.usage.reasoning.output_tokens": 320,
    "spanledger.usage.status": "reported",
}
BEGUN = {
    "gen_ai.response.id": "msg_C1",
    "gen_ai.usage.input_tokens": 42600,
    "gen_ai.usage.cache_read.input_tokens": 40000,
    "gen_ai.usage.cache_write.input_tokens": 2500,
    "anthropic.usage.cache_creation.ephemeral_5m_input_tokens": 500,
    "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 2000,
}
MESSAGE = BEGUN | {
    "gen_ai.usage.output_tokens": 900,
    "gen_ai.usage.reasoning.output_tokens": 640,
    "spanledger.usage.web_search_requests": 3,
    "spanledger.usage.status": "reported",
}
EXPECTED: dict[str, dict[str, Any]] = {
    "chat_stream_aborted": {"spanledger.usage.status": "unreported"},
    "message_stream_aborted": BEGUN | {"gen_ai.usage.output_tokens": 1, "spanledger.usage.status": "partial"},
    "embedding": {"gen_ai.usage.input_tokens": 5, "spanledger.usage.status": "reported"},
    "chat": CHAT,
    "mistral": CHAT,
    "response": RESPONSE,
    "message": MESSAGE,
}
"""By the longest beginning of a scenario's name."""
FIGURES = ("gen_ai.usage.input_tokens", "llm.token_count.prompt")
OURS = "spanledger"
HTTP = "opentelemetry.instrumentation.httpx"
VOLATILE = ("time_to_first", "duration", "json_schema", "response.id", "output.value")
DEFAULTS = {"gen_ai.response.model": "logfire.anthropic"}
"""Logfire names the model that was asked for where nobody says which one answered."""


def expected(scenario: str) -> dict[str, Any]:
    return next(usage for beginning, usage in EXPECTED.items() if scenario.startswith(beginning))


def status(span: Span) -> str | None:
    return span["attributes"].get("spanledger.usage.status")


def is_volatile(name: str) -> bool:
    return any(word in name for word in VOLATILE)


def is_note(span: Span) -> bool:
    """Logfire tells of a stream in a log of its own, which is exported as a span of no length, and may come late."""
    return span["attributes"].get("logfire.span_type") == "log"


def account(spans: list[Span]) -> Span:
    """Find the span that tells of the call. One that ended too early for that has one of ours below it."""
    told = [span for span in spans if status(span) not in (None, "none")]
    below = [span for span in told if span["parent"] in [other["id"] for other in told]]
    for span in below:
        (early,) = (other for other in told if other["id"] == span["parent"])
        assert status(early) == "unreported"
        assert not figures(early)
    (found,) = below or told
    return found


def figures(span: Span) -> dict[str, Any]:
    return {name: span["attributes"][name] for name in FIGURES if name in span["attributes"]}


def ancestors(span: Span, spans: list[Span]) -> Iterator[Span]:
    by_id = {other["id"]: other for other in spans}
    while (parent := by_id.get(span["parent"])) is not None:
        yield parent
        span = parent


def check_one_account(scenario: str, spans: list[Span]) -> None:
    found = account(spans)
    assert lost(expected(scenario), found["attributes"]) == {}
    around = list(ancestors(found, spans))
    for other in spans:
        if other is not found and figures(other) and not is_note(other):
            same = other["attributes"].get("gen_ai.response.id") == found["attributes"].get("gen_ai.response.id")
            assert other in around or same, other


def check_attempts(scenario: str, spans: list[Span]) -> None:
    """Failed attempts carry no usage, and each one after the first says which it is."""
    attempts = [span for span in spans if span["scope"] == OURS]
    assert not any(figures(span) for span in attempts if span["status"] == "ERROR")
    if scenario.endswith("_retried") and attempts:
        assert [span["attributes"].get("http.request.resend_count") for span in attempts] == [None, 1]
        assert [status(span) for span in attempts] == ["none", "reported"]


def lost(wanted: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Say what is not as wanted, and what it is instead."""
    return {name: (value, found.get(name)) for name, value in wanted.items() if found.get(name) != value}


def check_theirs_are_kept(before: list[Span], after: list[Span]) -> None:
    """What a peer says without us it says with us: no span less, no attribute changed."""
    theirs = [span for span in after if span["scope"] != OURS and not is_note(span)]
    for old, new in itertools.zip_longest((span for span in before if not is_note(span)), theirs):
        assert old["scope"] == new["scope"]
        assert old["status"] == new["status"]
        changed = lost(old["attributes"], new["attributes"])
        assert [name for name in changed if DEFAULTS.get(name) != old["scope"] and not is_volatile(name)] == []


SCENARIOS = "chat,response,embedding,message"


@pytest.mark.parametrize(
    ("names", "scenarios"),
    [
        (["nobody"], SCENARIOS + ",mistral"),
        (["official"], SCENARIOS),
        (["openllmetry"], SCENARIOS),
        (["openinference"], SCENARIOS),
        (["logfire"], SCENARIOS),
        (["official", "openinference", "httpx"], SCENARIOS),
        (["ours", "httpx", "official"], "stream,retried"),
    ],
    ids=lambda names: "+".join(names) if isinstance(names, list) else "",
)
def test_one_call_is_one_account(names: list[str], scenarios: str, subtests: pytest.Subtests) -> None:
    played = peers.run("tests.peers.scenarios", "--only", scenarios, *names)
    assert played["with"]
    for scenario, spans in played["with"].items():
        with subtests.test(scenario=scenario):
            check_one_account(scenario, spans)
            check_attempts(scenario, spans)
            if played["without"]:
                check_theirs_are_kept(played["without"][scenario], spans)
    with subtests.test("nothing of ours failed"):
        assert not played["failures"]
    with subtests.test("what an SDK exports to its own provider has nothing of ours"):
        told, of_ours = played["told_mistral"]
        assert told == ("mistral" in scenarios)
        assert not of_ours
    with subtests.test("metrics"):
        check_metrics(names, played)


def check_metrics(names: list[str], played: dict[str, Any]) -> None:
    """Record what nobody else does; what is built on util-genai records for itself."""
    ours = played["metrics"].get(OURS, {})
    if "official" in names or "logfire" in names:  # the latter asks for silence
        assert not ours
        return
    calls = [name for name in played["with"] if name != "embedding"]
    if "openllmetry" in names:  # it measures what its spans are current for
        calls = [name for name in calls if name.startswith(("response", "message"))]
    retried = sum(name.endswith("_retried") for name in calls)
    assert ours["gen_ai.client.inference.duration"] == len(calls) + retried
    tokens = sum(expected(name).get("gen_ai.usage.input_tokens", 0) for name in calls)
    assert ours["gen_ai.client.inference.usage.input_tokens"] == tokens
