"""The provider as the real anthropic SDK sees it."""

import anthropic
import pytest

HELLO = [{"role": "user", "content": "Hello there"}]
HANDBOOK = "word " * 2000


def cached(ttl: str) -> list:
    return [{"type": "text", "text": HANDBOOK, "cache_control": {"type": "ephemeral", "ttl": ttl}}]


def test_a_message_states_the_tallied_figures(provider, anthropic_client):
    message = anthropic_client.messages.create(model="claude-haiku-4-5", max_tokens=500, messages=HELLO)
    (line,) = provider.tally()["models"]
    assert message.model == line["model"] == "claude-haiku-4-5-20251001"
    assert message.usage.input_tokens == line["input_tokens"] == 4 + 3
    assert message.usage.output_tokens == line["output_tokens"] > 0
    assert (message.stop_reason, message.usage.service_tier) == ("end_turn", "standard")
    assert provider.answers()[0]["response_id"] == message.id


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_a_marked_prompt_is_written_once_and_then_read(provider, anthropic_client, ttl):
    def ask():
        return anthropic_client.messages.create(
            model="claude-haiku-4-5", max_tokens=500, system=cached(ttl), messages=HELLO
        ).usage

    first, again = ask(), ask()
    assert first.cache_creation_input_tokens == again.cache_read_input_tokens == 2504
    assert getattr(first.cache_creation, f"ephemeral_{ttl}_input_tokens") == 2504
    assert first.cache_read_input_tokens == again.cache_creation_input_tokens == 0
    assert first.input_tokens == again.input_tokens == 4 + 3  # what the cache did is not in it
    (line,) = provider.tally()["models"]
    assert line["input_tokens"] == 2 * (2504 + 7)
    assert line[f"cache_write_{ttl}_tokens"] == line["cache_write_tokens"] == line["cache_read_tokens"] == 2504


def test_two_marks_of_different_lifetimes_are_written_apart(anthropic_client):
    usage = anthropic_client.messages.create(
        model="claude-haiku-4-5",
        max_tokens=500,
        system=[*cached("1h"), {"type": "text", "text": "x" * 400, "cache_control": {"type": "ephemeral"}}],
        messages=HELLO,
    ).usage
    assert usage.cache_creation.ephemeral_1h_input_tokens == 2504
    assert usage.cache_creation.ephemeral_5m_input_tokens == 104
    assert usage.cache_creation_input_tokens == 2608


def test_a_short_prompt_is_not_cached(anthropic_client):
    content = [{"type": "text", "text": "short", "cache_control": {"type": "ephemeral"}}]
    usage = anthropic_client.messages.create(
        model="claude-haiku-4-5", max_tokens=500, messages=[{"role": "user", "content": content}]
    ).usage
    assert (usage.cache_creation_input_tokens, usage.cache_read_input_tokens) == (0, 0)


def test_a_stream_comes_in_the_documented_order_and_states_the_tallied_figures(provider, anthropic_client):
    stream = anthropic_client.messages.create(
        model="claude-haiku-4-5", max_tokens=500, system=cached("1h"), messages=HELLO, stream=True
    )
    events = list(stream)
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    begun, final = events[0].message.usage, events[-2].usage
    assert begun.cache_creation.ephemeral_1h_input_tokens == 2504
    assert begun.output_tokens == 1
    (line,) = provider.tally()["models"]
    assert final.input_tokens + final.cache_creation_input_tokens == line["input_tokens"]
    assert final.output_tokens == line["output_tokens"] > 1


def test_thinking_is_stated_as_part_of_the_output(provider, anthropic_client):
    with anthropic_client.messages.stream(
        model="claude-sonnet-5-5", max_tokens=2000, thinking={"type": "adaptive"}, messages=HELLO
    ) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    thinking = message.usage.output_tokens_details.thinking_tokens
    assert 0 < thinking < message.usage.output_tokens
    assert provider.tally()["reasoning_tokens"] == thinking


def test_an_answer_at_its_limit_says_so(anthropic_client):
    message = anthropic_client.messages.create(model="claude-haiku-4-5", max_tokens=5, messages=HELLO)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 5)


def test_rate_limit_headers_are_sent(anthropic_client):
    raw = anthropic_client.messages.with_raw_response.create(model="claude-haiku-4-5", max_tokens=5, messages=HELLO)
    assert raw.headers["anthropic-ratelimit-input-tokens-limit"] == "2000000"
    assert raw.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert raw.headers["request-id"]


def test_rate_limits_are_as_near_as_the_plan_says(provider, anthropic_client):
    provider.control(limits_used=0.95)
    raw = anthropic_client.messages.with_raw_response.create(model="claude-haiku-4-5", max_tokens=5, messages=HELLO)
    assert raw.headers["anthropic-ratelimit-requests-remaining"] == "200"
    assert raw.headers["anthropic-ratelimit-output-tokens-remaining"] == "100000"


def test_a_wrong_request_gets_anthropics_400(provider, anthropic_client):
    mark = {"type": "ephemeral", "ttl": "2h"}
    with pytest.raises(anthropic.BadRequestError) as caught:
        anthropic_client.messages.create(
            model="claude-haiku-4-5",
            max_tokens=5,
            messages=[{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": mark}]}],
        )
    assert caught.value.type == "invalid_request_error"
    assert "2h" in caught.value.message
    assert provider.tally()["errors"] == 1


def test_a_wrong_key_is_refused(anthropic_client):
    with pytest.raises(anthropic.AuthenticationError) as caught:
        anthropic_client.with_options(api_key="wrong").messages.create(
            model="claude-haiku-4-5", max_tokens=5, messages=HELLO
        )
    assert caught.value.type == "authentication_error"
