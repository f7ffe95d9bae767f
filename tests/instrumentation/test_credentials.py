"""A key is told from others by its fingerprint, and never seen."""

import base64
import json

import openai
import pytest

from spanledger_instrumentation import settings
from spanledger_instrumentation.credentials import Credential, credential_of, fingerprint, hash_key
from tests.instrumentation.conftest import Spans
from tests.instrumentation.fixtures import load
from tests.wire_server import Reply, WireServer

KEY = "sk-proj-0123456789abcdefghijKLMN"
AWS = "AWS4-HMAC-SHA256 Credential={}/20261122/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=0f"
JWT = ".".join(
    base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in ({"alg": "RS256"}, {"sub": "x"}, {})
)


def text_of(headers: dict[str, str], query: bytes = b"") -> str | None:
    found = credential_of(headers, query)
    return None if found is None else found.text


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY} "},
        {"x-api-key": KEY},
        {"api-key": KEY},
        {"x-goog-api-key": KEY},
        {"authorization": "Basic dTpw", "x-api-key": KEY},
        {"authorization": f"Bearer {JWT}", "api-key": KEY},
    ],
)
def test_the_key_is_found_where_each_provider_has_it(headers: dict[str, str]) -> None:
    assert text_of(headers) == KEY


@pytest.mark.parametrize("query", [f"key={KEY}", f"alt=sse&key={KEY}", f"monkey=1&key={KEY}&x=", f"key=%73{KEY[1:]}"])
def test_the_key_is_found_in_a_query(query: str) -> None:
    assert text_of({}, query.encode()) == KEY


@pytest.mark.parametrize("query", ["", "monkey=1", "key=", "keys=1", "key=a%0Ab"])
def test_no_key_is_found_in_another_query(query: str) -> None:
    assert text_of({}, query.encode()) is None


def test_an_aws_signature_gives_the_access_key_id_which_is_no_secret() -> None:
    found = credential_of({"authorization": AWS.format("AKIAIOSFODNN7EXAMPLE")}, b"")
    assert found == Credential("AKIAIOSFODNN7EXAMPLE", secret=False)


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer ya29.a0AfH6SMBx0123456789",
        f"Bearer {JWT}",
        "Bearer sk-ant-oat01-0123456789abcdef",
        "Bearer bedrock-api-key-YmVkcm9jay5hbWF6b25hd3M",
        AWS.format("ASIAIOSFODNN7EXAMPLE"),
    ],
)
def test_what_changes_every_hour_has_no_fingerprint(authorization: str) -> None:
    assert text_of({"authorization": authorization}) is None


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Bearer \n", "Bearer sk-\u00e9", "Bearer " + "x" * 5000, AWS[:17]]
)
def test_what_is_no_key_is_none(value: str) -> None:
    assert text_of({"authorization": value}) is None


def test_a_fingerprint_is_a_hash_and_the_last_four() -> None:
    found = fingerprint(Credential(KEY, secret=True), b"")
    assert found["spanledger.api_key.last4"] == "KLMN"
    assert len(bytes.fromhex(found["spanledger.api_key.hash"])) == 16


def test_one_key_has_one_hash_and_two_have_two() -> None:
    hashes = [
        fingerprint(Credential(key, secret=True), b"")["spanledger.api_key.hash"] for key in (KEY, KEY, KEY + "x")
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_secret_makes_the_hash_the_users_own() -> None:
    keys = [b"", hash_key("one"), hash_key("two"), hash_key("x" * 1000)]
    hashes = {fingerprint(Credential(KEY, secret=True), key)["spanledger.api_key.hash"] for key in keys}
    assert len(hashes) == len(keys)


def test_a_key_that_can_be_guessed_is_hashed_only_with_a_secret() -> None:
    assert not fingerprint(Credential("sk-1234", secret=True), b"")
    assert fingerprint(Credential("sk-1234", secret=True), hash_key("one")).keys() == {"spanledger.api_key.hash"}


def test_a_credential_does_not_show_itself() -> None:
    assert KEY not in f"{Credential(KEY, secret=True)!r} {Credential(KEY, secret=True)}"


def test_the_settings_do_not_show_the_secret() -> None:
    loaded = settings.load({"OTEL_INSTRUMENTATION_SPANLEDGER_HASH_KEY": "the-secret"})
    assert loaded.hash_key == hash_key("the-secret")
    assert "hash_key" not in repr(loaded)


def test_the_span_of_a_call_has_the_fingerprint(
    server: WireServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_HASH_KEY", "one")
    spans: Spans = request.getfixturevalue("spans")
    server.reply(Reply(pieces=[load("openai/chat.json")]))
    with openai.OpenAI(base_url=server.url + "/v1", api_key=KEY, organization="org-1", project="proj_1") as client:
        client.chat.completions.create(model="gpt-5", messages=[])
    attributes = spans.attributes()
    expected = fingerprint(Credential(KEY, secret=True), hash_key("one"))
    assert {name: attributes[name] for name in expected} == expected
    assert (attributes["spanledger.organization"], attributes["spanledger.provider_project"]) == ("org-1", "proj_1")
