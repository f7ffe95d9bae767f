"""The provider as the real openai SDK sees it."""

import openai
import pytest

from spanledger_demo.provider import Provider

HELLO = [{"role": "user", "content": "Hello there"}]
LONG = [{"role": "system", "content": "word " * 2000}, {"role": "user", "content": "Hello there"}]


def only_model(provider: Provider) -> dict:
    (line,) = provider.tally()["models"]
    return line


def test_a_chat_answer_states_the_tallied_figures(provider, openai_client):
    answer = openai_client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    line = only_model(provider)
    assert answer.model == line["model"] == "gpt-4o-mini-2024-07-18"
    assert answer.usage.prompt_tokens == line["input_tokens"] == 4 + 3  # the block, and 11 bytes
    assert answer.usage.completion_tokens == line["output_tokens"] > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.choices[0].finish_reason == "stop"
    assert answer.service_tier == "default"
    assert provider.answers()[0]["response_id"] == answer.id


def test_a_chat_stream_says_usage_once_and_last_when_asked(provider, openai_client):
    stream = openai_client.chat.completions.create(
        model="gpt-4o-mini", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    assert all(chunk.usage is None and "usage" in chunk.model_fields_set for chunk in chunks)
    assert last.choices == []
    line = only_model(provider)
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (line["input_tokens"], line["output_tokens"])
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert line["unstated"] == 0


def test_a_chat_stream_says_no_usage_unasked_and_is_charged_even_so(provider, openai_client):
    chunks = list(openai_client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True))
    assert all("usage" not in chunk.model_fields_set and chunk.choices for chunk in chunks)
    line = only_model(provider)
    assert line["unstated"] == 1
    assert line["output_tokens"] > 0
    assert line["cost_usd"] != "0"


def test_a_stream_says_the_same_words_as_the_whole_answer(provider, openai_client):
    whole = openai_client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, n=2)
    stream = openai_client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, n=2, stream=True)
    texts = ["", ""]
    for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts[0] == texts[1] != ""
    assert whole.choices[0].message.content == whole.choices[1].message.content != ""


def test_a_prompt_seen_before_is_cached_in_steps_of_128(openai_client):
    first = openai_client.chat.completions.create(model="gpt-4o-mini", messages=LONG)
    again = openai_client.chat.completions.create(model="gpt-4o-mini", messages=LONG)
    other = openai_client.chat.completions.create(model="gpt-4.1-mini", messages=LONG)
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    assert again.usage.prompt_tokens_details.cached_tokens == 2504 // 128 * 128
    assert other.usage.prompt_tokens_details.cached_tokens == 0


def test_a_thinking_model_states_reasoning_as_part_of_its_output(provider, openai_client):
    answer = openai_client.chat.completions.create(model="gpt-5-mini", messages=HELLO)
    reasoning = answer.usage.completion_tokens_details.reasoning_tokens
    assert 0 < reasoning < answer.usage.completion_tokens
    assert only_model(provider)["reasoning_tokens"] == reasoning
    unthinking = openai_client.chat.completions.create(model="gpt-5-mini", messages=HELLO, reasoning_effort="minimal")
    assert unthinking.usage.completion_tokens_details.reasoning_tokens == 0


def test_an_answer_at_its_limit_says_so(openai_client):
    answer = openai_client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, max_tokens=5)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5
    response = openai_client.responses.create(model="gpt-4o-mini", input="Hello", max_output_tokens=5)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"


def test_the_tier_that_served_is_said_not_the_one_that_was_asked_for(openai_client):
    flex = openai_client.responses.create(model="gpt-5-mini", input="Hello", service_tier="flex")
    no_flex = openai_client.responses.create(model="gpt-4o-mini", input="Hello", service_tier="flex")
    fast = openai_client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, service_tier="priority")
    assert (flex.service_tier, no_flex.service_tier, fast.service_tier) == ("flex", "default", "priority")


def test_a_response_states_the_tallied_figures(provider, openai_client):
    response = openai_client.responses.create(model="gpt-5-mini", input="Hello", instructions="Be kind")
    line = only_model(provider)
    assert response.status == "completed"
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.usage.input_tokens == line["input_tokens"] == (4 + 2) + (4 + 2)
    assert response.usage.output_tokens == line["output_tokens"]
    assert response.usage.output_tokens_details.reasoning_tokens == line["reasoning_tokens"] > 0


def test_a_response_stream_comes_in_the_documented_order(provider, openai_client):
    with openai_client.responses.stream(model="gpt-5-mini", input="Hello") as stream:
        events = list(stream)
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.output_item.done",
    ]
    assert kinds[4:6] == ["response.output_item.added", "response.content_part.added"]
    assert set(kinds[6:-4]) == {"response.output_text.delta"}
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert all(event.response.usage is None for event in events[:2])
    assert events[-1].response.usage.output_tokens == only_model(provider)["output_tokens"]
    assert "".join(event.delta for event in events if event.type.endswith("text.delta")) == events[-4].text


@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}])  # by itself the SDK asks for base64
def test_embeddings_are_as_long_as_asked_for(provider, openai_client, encoding):
    answer = openai_client.embeddings.create(
        model="text-embedding-3-small", input=["one", "two"], dimensions=256, **encoding
    )
    assert [each.index for each in answer.data] == [0, 1]
    assert len(answer.data[0].embedding) == len(answer.data[1].embedding) == 256
    assert answer.data[0].embedding != answer.data[1].embedding
    line = only_model(provider)
    assert answer.usage.prompt_tokens == line["input_tokens"] == 2 * (4 + 1)
    assert (line["output_tokens"], line["cost_usd"]) == (0, "0.0000002")


def test_rate_limit_headers_are_sent(openai_client):
    raw = openai_client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=HELLO)
    assert raw.headers["x-ratelimit-limit-requests"] == "10000"
    assert int(raw.headers["x-ratelimit-remaining-requests"]) < 10_000
    assert raw.headers["x-request-id"]


def test_rate_limits_are_as_near_as_the_plan_says(provider, openai_client):
    provider.control(limits_used=0.95)
    raw = openai_client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=HELLO)
    assert raw.headers["x-ratelimit-remaining-requests"] == "500"
    assert raw.headers["x-ratelimit-remaining-tokens"] == "100000"
    assert raw.headers["x-ratelimit-reset-requests"] == "57s"


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"model": "gpt-4o-mini", "messages": HELLO, "max_tokens": 0}, "max_tokens"),
        ({"model": "gpt-4o-mini", "messages": []}, "messages"),
        ({"model": "", "messages": HELLO}, "model"),
        ({"model": "gpt-4o-mini", "messages": "hello"}, "messages"),
        ({"model": "gpt-4o-mini", "messages": HELLO, "stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_a_wrong_request_gets_openais_400(provider, openai_client, arguments, param):
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(**arguments)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == param
    assert (provider.tally()["calls"], provider.tally()["errors"]) == (1, 1)


def test_a_prompt_beyond_the_base_prices_is_refused(openai_client):
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.responses.create(model="gpt-5-mini", input="x" * 800_004)
    assert caught.value.code == "context_length_exceeded"


def test_a_wrong_key_is_refused(provider, openai_client):
    with pytest.raises(openai.AuthenticationError) as caught:
        openai_client.with_options(api_key="wrong").embeddings.create(model="text-embedding-3-small", input="x")
    assert caught.value.code == "invalid_api_key"
    assert provider.tally()["errors"] == 1


def test_figures_follow_from_the_request_and_ids_never_repeat(openai_client):
    first, second = (openai_client.chat.completions.create(model="gpt-4o-mini", messages=HELLO) for _ in range(2))
    assert first.usage == second.usage
    assert first.choices == second.choices
    assert first.id != second.id
