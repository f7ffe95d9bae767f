"""Under and above an invocation of opentelemetry-util-genai, which the official instrumentations are built on."""

from typing import Any

from tests.servers import peers

INPUT = "gen_ai.usage.input_tokens"


def test_a_call_and_an_invocation_meet_in_the_context(subtests: Any) -> None:
    played = peers.run("tests.peers.invocations")
    assert not played["failures"]
    cases = played["cases"]
    with subtests.test("an invocation whose span is not the current one is told all the same, and its own values win"):
        between, theirs = cases["a_span_between"]
        assert between["name"] == "attempt"
        assert INPUT not in between["attributes"]
        assert theirs["attributes"][INPUT] == 1200
        assert theirs["attributes"]["gen_ai.usage.cache_read.input_tokens"] == 1024
        assert theirs["attributes"]["gen_ai.response.finish_reasons"] == ["stop", "length"]
        assert theirs["attributes"]["gen_ai.request.model"] == "theirs"
        assert theirs["attributes"]["spanledger.usage.status"] == "reported"
    with subtests.test("a second call under one invocation has a span of its own"):
        assert [(span["scope"], span["attributes"][INPUT]) for span in cases["two_calls"]] == [
            ("spanledger", 1200),
            ("opentelemetry.util.genai.handler", 1200),
        ]
    with subtests.test("a failed attempt leaves the invocation to the next one"):
        attempts, theirs = cases["a_failure_first"]
        assert attempts["name"] == "attempts"
        assert theirs["attributes"][INPUT] == 1200
        assert "error.type" not in theirs["attributes"]
    with subtests.test("embeddings"):
        (theirs,) = cases["embeddings"]
        assert theirs["attributes"][INPUT] == 5
        assert theirs["attributes"]["gen_ai.embeddings.dimension.count"] == 8
    with subtests.test("an invocation below a call of ours is silent, and one after it is not"):
        ours, after = cases["an_invocation_below"]
        assert ours["scope"] == "spanledger"
        assert ours["attributes"][INPUT] == 1200
        assert INPUT not in after["attributes"]
