"""The same call made twice has one hash, another call another one, and no text can be tried out against it."""

import json
from dataclasses import replace
from typing import Any

import anthropic
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation import settings
from spanledger_instrumentation.credentials import Credential
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.following import Outgoing
from spanledger_instrumentation.opening import REQUEST_BYTES_MAX
from spanledger_instrumentation.request_hash import BYTES_MAX, request_hash
from tests.instrumentation.conftest import Spans
from tests.instrumentation.fixtures import load
from tests.wire_server import Reply, WireServer, sse_reply

KEY = Credential("sk-0123456789abcdef", secret=True)
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "model": "gpt-5", "temperature": 1}
OUTGOING = Outgoing(
    method="POST",
    host="api.openai.com",
    port=443,
    target=b"/v1/chat/completions",
    headers={},
    content=b"",
    replaceable=True,
)


def hashed(
    content: Any,
    *,
    key: bytes = b"k",
    credential: Credential | None = None,
    outgoing: Outgoing = OUTGOING,
    **style: Any,
) -> str | None:
    raw = content if isinstance(content, bytes) else json.dumps(content, **style).encode()
    document = Document.of(raw, REQUEST_BYTES_MAX)
    return request_hash(replace(outgoing, content=raw), document, key, credential)


def test_the_same_request_has_the_same_hash_and_another_one_another() -> None:
    same = hashed(BODY)
    assert same is not None
    assert len(bytes.fromhex(same)) == 16
    assert hashed(dict(BODY)) == same
    others = [{**BODY, "model": "gpt-4"}, {**BODY, "temperature": 2}, {**BODY, "messages": []}, {**BODY, "seed": 1}]
    assert len({same, *map(hashed, others)}) == 5


@pytest.mark.parametrize(
    "idle",
    [
        {"stream": True},
        {"stream": False},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"user": 'u "1" \\'},
        {"metadata": {"user_id": "u}1", "b": None}},
        {"safety_identifier": "u1", "prompt_cache_key": "c", "store": False},
    ],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_how_it_is_sent_kept_and_labelled_does_not_matter(idle: dict[str, Any], separators: Any) -> None:
    expected = hashed(BODY, separators=separators)
    assert hashed({**BODY, **idle}, separators=separators) == expected
    assert hashed({**idle, **BODY}, separators=separators) == expected
    first, *rest = BODY.items()
    assert hashed({**dict([first]), **idle, **dict(rest)}, separators=separators) == expected


IDLE: dict[str, Any] = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "user": 'u "1" {,\\',
    "metadata": {"a": "b}"},
    "store": None,
}


@given(st.permutations([*BODY.items(), *IDLE.items()]), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_what_is_left_is_the_body_without_them_wherever_they_stand(items: list[Any], separators: Any) -> None:
    rest = {name: value for name, value in items if name not in IDLE}
    assert hashed(dict(items), separators=separators) == hashed(rest, separators=separators)


def test_a_member_inside_a_message_matters_whatever_its_name() -> None:
    def asked(whom: str, **more: Any) -> Any:
        call = {"type": "tool_use", "input": {"city": "x", "user": whom}}
        return {"messages": [{"role": "assistant", "content": [call]}], **more}

    assert hashed(asked("u1")) != hashed(asked("u2"))
    assert hashed(asked("u1", user="me")) != hashed(asked("u2", user="me"))


def test_a_text_that_looks_like_a_member_matters() -> None:
    bodies = [{**BODY, "messages": [f',"user":"{name}",'], "user": "me"} for name in ("u1", "u2")]
    assert hashed(bodies[0]) != hashed(bodies[1])


def test_the_same_body_elsewhere_or_under_another_key_has_another_hash() -> None:
    hashes = {
        hashed(BODY),
        hashed(BODY, outgoing=replace(OUTGOING, host="llm.example.com")),
        hashed(BODY, outgoing=replace(OUTGOING, target=b"/v1/responses")),
        hashed(BODY, key=b"other"),
        hashed(BODY, key=b"", credential=KEY),
        hashed(BODY, key=b"", credential=KEY._replace(text=KEY.text + "x")),
    }
    assert len(hashes) == 6


def test_the_query_does_not_matter_since_keys_stand_in_it() -> None:
    assert hashed(BODY, outgoing=replace(OUTGOING, target=OUTGOING.target + b"?key=1")) == hashed(BODY)


@pytest.mark.parametrize(
    "credential", [None, Credential("AKIAIOSFODNN7EXAMPLE", secret=False), Credential("sk-1234", secret=True)]
)
def test_without_a_secret_there_is_no_hash(credential: Credential | None) -> None:
    assert hashed(BODY, key=b"", credential=credential) is None


@pytest.mark.parametrize("content", [b"", b"--boundary\r\n", b"[1]", b"\x1f\x8b"])
def test_what_is_no_json_object_has_no_hash(content: bytes) -> None:
    assert hashed(content) is None


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"stream":true}', b'{"stream":true', b'{"user":"\xff"}'])
def test_any_body_can_be_hashed(content: bytes) -> None:
    assert hashed(content) == hashed(content)


@pytest.mark.parametrize("at", [10, BYTES_MAX + 90_000])
def test_of_a_long_body_both_ends_count(at: int) -> None:
    content = json.dumps({"messages": "x" * (BYTES_MAX + 100_000)}).encode()
    assert hashed(content) == hashed(bytes(content))
    assert hashed(content[:at] + b"y" + content[at + 1 :]) != hashed(content)
    assert hashed(content[: BYTES_MAX // 2] + b"x" + content[BYTES_MAX // 2 :]) != hashed(content)


@pytest.mark.parametrize("nasty", [b'"user":{' + b'"a"' * 60_000, b'"user":"' + b"\\\\" * 60_000, b'"user":' * 30_000])
def test_a_hostile_body_is_hashed_in_linear_time(nasty: bytes) -> None:
    """Where a pattern is not linear, this takes hours, and the test's time is up."""
    assert hashed(b'{"user":"x",' + nasty) is not None
    assert hashed(b'{"user":"x","a":"' + nasty.replace(b'"', b'\\"') + b'"}') is not None


def asked(client: openai.OpenAI, text: str, **options: Any) -> None:
    answer: Any = client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": text}], **options)
    list(answer)


def test_the_sdk_sends_the_same_call_alike(server: WireServer, spans: Spans) -> None:
    chat, stream = Reply(pieces=[load("openai/chat.json")]), sse_reply(load("openai/chat_stream.sse"))
    server.reply(chat, stream, chat, chat)
    with openai.OpenAI(base_url=server.url + "/v1", api_key=KEY.text) as client:
        asked(client, "hello")
        asked(client, "hello", stream=True)
        asked(client, "hello", user="u1")
        asked(client, "goodbye")
    hashes = [(span.attributes or {})["spanledger.request.hash"] for span in spans()]
    assert hashes[0] == hashes[1] == hashes[2] != hashes[3]


def test_anthropics_metadata_does_not_matter(server: WireServer, spans: Spans) -> None:
    reply = Reply(pieces=[load("anthropic/message.json")])
    server.reply(reply, reply)
    with anthropic.Anthropic(base_url=server.url, api_key=KEY.text) as client:
        for metadata in ({"user_id": "u1"}, {"user_id": "u2"}):
            client.messages.create(
                model="claude-opus-4-5", max_tokens=9, messages=[{"role": "user", "content": "x"}], metadata=metadata
            )
    hashes = {(span.attributes or {})["spanledger.request.hash"] for span in spans()}
    assert len(hashes) == 1


def test_it_can_be_switched_off(
    server: WireServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_REQUEST_HASH", "false")
    spans: Spans = request.getfixturevalue("spans")
    server.reply(Reply(pieces=[load("openai/chat.json")]))
    with openai.OpenAI(base_url=server.url + "/v1", api_key=KEY.text) as client:
        asked(client, "hello")
    assert "spanledger.request.hash" not in spans.attributes()
    assert "spanledger.api_key.hash" in spans.attributes()


def test_a_switch_that_is_neither_on_nor_off_is_logged_and_left_on(caplog: pytest.LogCaptureFixture) -> None:
    assert settings.load({"OTEL_INSTRUMENTATION_SPANLEDGER_REQUEST_HASH": "maybe"}).request_hash
    assert "OTEL_INSTRUMENTATION_SPANLEDGER_REQUEST_HASH" in caplog.text
