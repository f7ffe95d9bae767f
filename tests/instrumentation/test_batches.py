"""The lines of a batch's results, without any HTTP."""

import gc
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger_instrumentation import batches
from spanledger_instrumentation.batches import ANTHROPIC, OPENAI, BatchResults, Total
from spanledger_instrumentation.usage import Usage
from tests.instrumentation.fixtures import DATA, cut

MESSAGE = json.loads((DATA / "anthropic/message.json").read_text())


def chat(model: str = "gpt-5", tokens: int = 100, text: str = "hello", **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1763800000,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": tokens,
            "completion_tokens": 20,
            "total_tokens": tokens + 20,
            "prompt_tokens_details": {"cached_tokens": 64},
        },
        "service_tier": "default",
        "system_fingerprint": None,
        **more,
    }


def response(tokens: int = 100, **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "gpt-5",
        "output": [],
        "usage": {"input_tokens": tokens, "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 7}},
        "user": None,
        "metadata": {},
        **more,
    }


def embeddings(dimensions: int = 4) -> dict[str, Any]:
    data = [{"object": "embedding", "index": 0, "embedding": [0.015625] * dimensions}]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return {"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage}


def openai_line(body: object, status: int = 200, custom_id: str = "request-1") -> bytes:
    answer = {"status_code": status, "request_id": "req_1", "body": body}
    line = {"id": "batch_req_1", "custom_id": custom_id, "response": answer, "error": None}
    return json.dumps(line).encode() + b"\n"


def azure_line(body: object) -> bytes:
    """The same in the order in which Azure writes it."""
    answer = {"body": body, "request_id": "req_1", "status_code": 200}
    return json.dumps({"custom_id": "request-1", "response": answer, "error": None}).encode() + b"\n"


def anthropic_line(result: object) -> bytes:
    return json.dumps({"custom_id": "request-1", "result": result}).encode() + b"\n"


def succeeded(**more: Any) -> bytes:
    return anthropic_line({"type": "succeeded", "message": {**MESSAGE, **more}})


def read(*pieces: bytes, batch_format: batches.BatchFormat = OPENAI) -> BatchResults:
    results = BatchResults(batch_format, "file-1")
    for piece in pieces:
        results.feed(piece)
    results.finish()
    return results


def only(results: BatchResults) -> Total:
    (total,) = results.totals()
    return total


def test_the_figures_of_a_model_are_summed_class_by_class() -> None:
    total = only(read(openai_line(chat(tokens=100)), openai_line(chat(tokens=50))))
    assert total.usage == Usage(input_tokens=150, output_tokens=40, cache_read_input_tokens=128)
    assert (total.operation, total.model, total.requests, total.input_tokens_max) == ("chat", "gpt-5", 2, 100)


def test_a_class_that_no_request_reports_stays_unknown_and_a_reported_zero_stays_zero() -> None:
    body = response(usage={"input_tokens": 1, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 0}})
    usage = only(read(openai_line(body))).usage
    assert usage == Usage(input_tokens=1, output_tokens=2, reasoning_output_tokens=0)


def test_operations_and_models_are_told_apart() -> None:
    lines = (chat(), chat("gpt-5-mini"), response(), embeddings())
    totals = read(*map(openai_line, lines)).totals()
    assert [(total.operation, total.model, total.requests) for total in totals] == [
        ("chat", "gpt-5", 2),
        ("chat", "gpt-5-mini", 1),
        ("embeddings", "text-embedding-3-small", 1),
    ]
    assert len({total.response_id for total in totals}) == 3


def test_requests_on_both_sides_of_a_price_step_are_not_summed() -> None:
    lengths = (272_000, 272_001, 270_000)
    totals = read(*(openai_line(chat(tokens=tokens)) for tokens in lengths)).totals()
    assert [(total.requests, total.input_tokens_max) for total in totals] == [(2, 272_000), (1, 272_001)]
    assert len({total.response_id for total in totals}) == 2


def test_the_response_id_is_the_same_for_every_download() -> None:
    first, second = (only(read(openai_line(chat()))) for _ in range(2))
    assert first.response_id == second.response_id
    assert "file-1" in first.response_id


def test_the_tier_is_the_batch_tier_whatever_the_lines_say() -> None:
    assert only(read(openai_line(chat()))).answer("file-1").service_tier == "batch"


def test_failed_lines_are_counted_and_have_no_figures() -> None:
    failed = json.dumps({"custom_id": "2", "response": None, "error": {"code": "batch_expired"}}).encode() + b"\n"
    refused = openai_line({"error": {"code": "context_length_exceeded"}}, status=400)
    results = read(openai_line(chat()), failed, refused)
    assert results.failed_requests == 2
    assert only(results).requests == 1


def test_a_file_of_errors_tells_of_no_usage() -> None:
    results = read(*[openai_line({"error": {"code": "invalid_request"}}, status=400)] * 3)
    assert not results.totals()
    assert results.failed_requests == 3


def test_messages_have_their_place_and_speed_apart() -> None:
    usage = {**MESSAGE["usage"], "inference_geo": "eu"}
    totals = read(succeeded(), succeeded(), succeeded(usage=usage), batch_format=ANTHROPIC).totals()
    assert [total.requests for total in totals] == [2, 1]
    assert totals[0].usage.input_tokens == 2 * 42600
    assert totals[0].usage.cache_write_1h_input_tokens == 2 * 2000
    assert totals[1].answer("b").details["anthropic.response.inference_geo"] == "eu"


@pytest.mark.parametrize("kind", ["errored", "canceled", "expired"])
def test_a_message_that_was_not_made_is_a_failed_request(kind: str) -> None:
    results = read(succeeded(), anthropic_line({"type": kind}), batch_format=ANTHROPIC)
    assert (only(results).requests, results.failed_requests) == (1, 1)


def test_compactions_make_a_total_that_says_so() -> None:
    iterations = [{"type": "compaction", "input_tokens": 5, "output_tokens": 2}]
    line = succeeded(usage={**MESSAGE["usage"], "iterations": iterations})
    assert only(read(line, line, batch_format=ANTHROPIC)).usage.compaction_input_tokens == 10


def test_an_answer_of_an_unknown_shape_is_counted_apart_and_not_guessed() -> None:
    known, unread = read(openai_line(chat()), openai_line({"object": "video"}), b"{garbage\n").totals()
    assert (known.requests, unread.requests, unread.model) == (1, 2, None)
    assert unread.answer("file-1").usage is None


def test_moderations_are_free_and_no_total() -> None:
    free = openai_line({"id": "modr-1", "model": "omni-moderation", "results": [{"flagged": False}]})
    assert not read(free, free).totals()


def test_models_beyond_the_limit_are_counted_and_not_summed() -> None:
    count = batches.GROUPS_MAX + 3
    totals = read(*(openai_line(chat(f"model-{number}")) for number in range(count))).totals()
    assert len(totals) == batches.GROUPS_MAX + 1
    assert totals[-1].model is None
    assert totals[-1].requests == 3


@pytest.mark.parametrize(
    "content",
    [
        b'{"messages": [{"role": "user", "content": "custom_id response"}]}\n',
        b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-5"}}\n',
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"a,b\n1,2\n",
        b'["custom_id"]\n',
        b'{"custom_id": "1", "response": "text"}\n',
        b"",
        b"\n\n",
    ],
    ids=["fine-tuning", "batch input", "image", "csv", "array", "another object", "nothing", "blank lines"],
)
def test_what_is_no_batch_makes_nothing(content: bytes) -> None:
    assert not read(content, openai_line(chat())[: 10 if content else 0]).totals()


def test_what_is_no_batch_is_not_collected() -> None:
    results = BatchResults(OPENAI, "file-1")
    results.feed(b"\x89PNG")
    assert results.refused


@pytest.mark.parametrize("length", [0, 900, 9_000, 30_000, 47_000, 60_000, 500_000])
@pytest.mark.parametrize("line", [openai_line, azure_line])
def test_a_line_may_have_any_length(line: Any, length: int) -> None:
    lie = '"usage":{"prompt_tokens":9,"completion_tokens":9}}},"model":"x"'
    whole = chat(text=(lie * (length // len(lie) + 1))[:length])
    usage = only(read(line(whole), line(whole))).usage
    assert usage == Usage(input_tokens=200, output_tokens=40, cache_read_input_tokens=128)


@pytest.mark.parametrize("count", [1, 10, 100, 1000])
def test_what_the_user_wrote_beside_the_usage_is_not_taken_for_it(count: int) -> None:
    metadata = {f"usage{number}": '{"input_tokens": 9}' for number in range(min(count, 16))}
    nested = {"usage": {"input_tokens": 9, "output_tokens": 9}, "model": "x", "object": "chat.completion"}
    body = response(instructions="text " * count * 20, metadata={**metadata, "deep": nested})
    total = only(read(openai_line(body, custom_id='"usage":{"input_tokens":9}}}')))
    assert (total.model, total.usage.input_tokens) == ("gpt-5", 100)


@pytest.mark.parametrize("dimensions", [1, 500, 1536, 100_000])
def test_embeddings_of_any_length(dimensions: int) -> None:
    total = only(read(openai_line(embeddings(dimensions))))
    assert (total.operation, total.usage) == ("embeddings", Usage(input_tokens=8))


@pytest.mark.parametrize("padding", range(900, 1030, 3))
def test_a_status_at_the_edge_of_what_is_looked_at_first_is_read_whole(padding: int) -> None:
    results = read(openai_line(chat(text="x" * 9_000), custom_id="c" * padding))
    assert (only(results).requests, results.failed_requests) == (1, 0)


CONTENT = b"".join(
    [
        openai_line(chat()),
        b"\r\n",
        openai_line(chat("gpt-5-mini", text="x" * 60_000)),
        azure_line(response()),
        openai_line({"error": {}}, status=500),
        openai_line(embeddings(2_000)).rstrip(),  # the last line lacks its line break
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(CONTENT)), max_size=8))
def test_any_cut_gives_the_same(places: list[int]) -> None:
    results, whole = read(*cut(CONTENT, places)), read(CONTENT)
    assert results.totals() == whole.totals()
    assert results.failed_requests == whole.failed_requests == 1
    assert [total.requests for total in whole.totals()] == [2, 1, 1]


def test_any_single_byte_cut_of_short_lines_gives_the_same() -> None:
    content = openai_line(chat()) + b"\n" + openai_line(response())
    assert read(*(content[at : at + 1] for at in range(len(content)))).totals() == read(content).totals()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(CONTENT)), st.binary(max_size=40)), max_size=6), st.binary(max_size=100))
def test_whatever_comes_nothing_is_raised(changes: list[tuple[int, bytes]], first: bytes) -> None:
    content = CONTENT
    for place, change in changes:
        content = content[:place] + change + content[place + len(change) :]
    for batch_format in (OPENAI, ANTHROPIC):
        read(content, batch_format=batch_format)
        read(first, content, batch_format=batch_format)


def test_sums_that_no_attribute_could_hold_stay_at_the_greatest_one() -> None:
    line = openai_line(chat(tokens=2**53 - 1))
    assert only(read(*[line] * 1025)).usage.input_tokens == 2**63 - 1


def test_memory_is_bounded_however_long_the_file_is() -> None:
    """200 MB go through, of long lines and of one endless line; what is kept in between is a few excerpts."""
    results = BatchResults(OPENAI, "file-1")
    line = openai_line(chat(text="x" * 1_000_000))
    results.feed(line)
    endless = b"y" * 1_000_000
    gc.collect()
    tracemalloc.start()
    for _ in range(100):
        results.feed(line)
    for _ in range(100):
        results.feed(endless)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 256 * 1024
    assert peak < 4 * 1024 * 1024
    assert results.totals()[0].requests == 101
