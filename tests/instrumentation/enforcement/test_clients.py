"""A refusal on every HTTP client: a response as the network's would be, sync and async, read at once or as a stream."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import boto3
import botocore.exceptions
import httpx
import httpx2
import pytest
import requests
import trio
import urllib3

from tests.instrumentation.conftest import Spans
from tests.instrumentation.enforcement.lease_server import Budget, LeaseServer
from tests.wire_server import WireServer, json_reply

PATH = "/v1/chat/completions"
BODY: Any = {"model": "gpt-5-mini", "messages": []}
ANSWER = {"id": "c", "model": "gpt-5-mini", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
Seen = tuple[int, str, bytes]


def by_httpx(url: str) -> Seen:
    with httpx.Client() as client:
        response = client.post(url, json=BODY)
    assert response.reason_phrase == "Payment Required" or response.status_code == 200
    assert response.elapsed is not None
    assert response.request.url == url
    return response.status_code, response.headers.get("x-spanledger-budget", ""), response.content


def by_httpx2_stream(url: str) -> Seen:
    with httpx2.Client() as client, client.stream("POST", url, json=BODY) as response:
        raw = b"".join(response.iter_raw())
    return response.status_code, response.headers.get("x-spanledger-budget", ""), raw


def by_httpx2_async(url: str) -> Seen:
    async def ask() -> Seen:
        async with httpx2.AsyncClient() as client:
            response = await client.post(url, json=BODY)
        return response.status_code, response.headers.get("x-spanledger-budget", ""), response.content

    return asyncio.run(ask())


def by_httpx_async_stream(url: str) -> Seen:
    async def ask() -> Seen:
        async with httpx.AsyncClient() as client, client.stream("POST", url, json=BODY) as response:
            raw = b"".join([chunk async for chunk in response.aiter_bytes()])
        return response.status_code, response.headers.get("x-spanledger-budget", ""), raw

    return asyncio.run(ask())


def by_httpx_in_trio(url: str) -> Seen:
    async def ask() -> Seen:
        async with httpx.AsyncClient() as client:
            response = await client.post(url, json=BODY)
        return response.status_code, response.headers.get("x-spanledger-budget", ""), response.content

    return trio.run(ask)


def by_aiohttp(url: str) -> Seen:
    async def ask() -> Seen:
        async with aiohttp.ClientSession() as session, session.post(url, json=BODY) as response:
            assert str(response.url) == url
            assert response.request_info.method == "POST"
            return response.status, response.headers.get("x-spanledger-budget", ""), await response.read()

    return asyncio.run(ask())


def by_aiohttp_pieces(url: str) -> Seen:
    async def ask() -> Seen:
        async with aiohttp.ClientSession() as session, session.post(url, json=BODY) as response:
            pieces = [piece async for piece in response.content.iter_chunked(7)]
            return response.status, response.headers.get("x-spanledger-budget", ""), b"".join(pieces)

    return asyncio.run(ask())


def by_requests(url: str) -> Seen:
    with requests.Session() as session:
        response = session.post(url, json=BODY)
    assert response.request.url == url
    return response.status_code, response.headers.get("x-spanledger-budget", ""), response.content


def by_requests_stream(url: str) -> Seen:
    with requests.Session() as session, session.post(url, json=BODY, stream=True) as response:
        raw = b"".join(response.iter_content(7))
    return response.status_code, response.headers.get("x-spanledger-budget", ""), raw


def by_urllib3(url: str) -> Seen:
    with urllib3.PoolManager() as pool:
        response = pool.request("POST", url, json=BODY)
    return response.status, response.headers.get("x-spanledger-budget", ""), response.data


def by_urllib3_stream(url: str) -> Seen:
    with urllib3.PoolManager() as pool:
        response = pool.request("POST", url, json=BODY, preload_content=False)
        raw = b"".join(response.stream(7))
        response.release_conn()
    return response.status, response.headers.get("x-spanledger-budget", ""), raw


WAYS: list[Callable[[str], Seen]] = [
    *(by_httpx, by_httpx2_stream, by_httpx2_async, by_httpx_async_stream, by_httpx_in_trio),
    *(by_aiohttp, by_aiohttp_pieces, by_requests, by_requests_stream, by_urllib3, by_urllib3_stream),
]


@pytest.mark.parametrize("ask", WAYS)
def test_a_refusal_is_a_response_that_was_never_sent(
    ask: Callable[[str], Seen], lender: LeaseServer, spans: Spans, server: WireServer
) -> None:
    lender.budgets = [Budget("team-x", limit=0)]
    status, budget, raw = ask(server.url + PATH)
    assert (status, budget) == (402, "team-x")
    error = json.loads(raw)["error"]
    assert (error["type"], error["code"]) == ("budget_exceeded", "budget_exceeded")
    assert '"team-x"' in error["message"]
    assert not server.requests
    assert spans.attributes()["error.type"] == "budget_exceeded"
    assert "http.response.status_code" not in spans.attributes()


@pytest.mark.parametrize("ask", WAYS)
def test_a_soft_budget_near_its_limit_is_named_in_a_header_and_once_in_the_log(
    ask: Callable[[str], Seen],
    lender: LeaseServer,
    spans: Spans,
    server: WireServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lender.budgets = [Budget("watched", limit=100, mode="soft"), Budget("quiet", limit=100, mode="soft")]
    lender.budgets[0].spent[""] = 92
    for _ in range(2):
        server.reply(json_reply(ANSWER))
        status, notice, raw = ask(server.url + PATH)
        assert (status, notice, json.loads(raw)) == (200, "watched 92%", ANSWER)
    said = [record.getMessage() for record in caplog.records if "budget watched" in record.getMessage()]
    assert said == ["spanledger: budget watched has spent 92 % of its limit, and is over its threshold of 90 %"]


def test_aiohttp_raises_for_a_refusal_where_it_would_for_any(
    lender: LeaseServer, spans: Spans, server: WireServer
) -> None:
    lender.budgets = [Budget("team-x", limit=0)]

    async def ask(**options: Any) -> None:
        async with aiohttp.ClientSession(**options) as session:
            await session.post(server.url + PATH, json=BODY)

    with pytest.raises(aiohttp.ClientResponseError) as caught:
        asyncio.run(ask(raise_for_status=True))
    assert caught.value.status == 402
    asyncio.run(ask())


def test_bedrock_is_refused_with_an_exception_of_botocores(
    lender: LeaseServer, spans: Spans, server: WireServer
) -> None:
    lender.budgets = [Budget("team-x", limit=0)]
    client: Any = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
    )
    messages = [{"role": "user", "content": [{"text": "Hello"}]}]
    for create in (client.converse, client.converse_stream):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            create(modelId="amazon.nova-lite-v1:0", messages=messages)
        error = caught.value.response
        assert error["Error"]["Code"] == "BudgetExceededException"
        assert '"team-x"' in error["Error"]["Message"]
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 402
        assert error["ResponseMetadata"]["RetryAttempts"] == 0
    client.close()
    assert not server.requests
    assert len(spans()) == 2


def test_requests_that_are_no_calls_are_not_asked_about(lender: LeaseServer, spans: Spans, server: WireServer) -> None:
    lender.budgets = [Budget("team-x", limit=0)]
    server.reply(json_reply({}))
    with httpx.Client() as client:
        assert client.post(server.url + "/v1/orders", json={}).status_code == 200
    assert not lender.requests
