"""Which response ids tell a call from every other."""

import secrets
import uuid

import pytest

from spanledger_exporter.ledger.identity import distinctive


@pytest.mark.parametrize(
    "response_id",
    [
        None,
        "",
        "id",
        "chatcmpl-1",
        "chatcmpl-123",
        "cmpl-0",
        "resp_1",
        "chatcmpl-test",
        "chatcmpl-00000000000000000000",
        "00000000-0000-0000-0000-000000000000",
        "chatcmpl-mock-response-id",
        "mock-chat-completion-response",
        "x" * 40,
    ],
)
def test_constant_short_and_empty_ids_tell_nothing(response_id: str | None) -> None:
    assert not distinctive(response_id)


@pytest.mark.parametrize(
    "response_id",
    [
        "chatcmpl-AqR7nCk5bX2mT9vWz3LpYdEf8sHgJ",
        "chatcmpl-379b8abeb83e09b904b35f8acd6d7c8d",
        "msg_01XFDUDYJgAACzvnptvVoYEL",
        "resp_0751c54af749784c7e8fe12f33c24cef",
        "45786017-3af7-473f-bc25-4558e73b4cbf",
        "gen-1730000000-abcdEFGHijklMNOPqrst",
        "chatcmpl-b37775c4-cd6d-41ff-9a63-de4eb885820a",
        "aZsZafnPKdDgz7IP4uXXgQQ",
    ],
)
def test_random_ids_are_distinctive(response_id: str) -> None:
    assert distinctive(response_id)


def test_ids_as_providers_make_them_are_distinctive() -> None:
    for _ in range(200):
        assert distinctive(f"chatcmpl-{secrets.token_hex(16)}")
        assert distinctive(str(uuid.uuid4()))
