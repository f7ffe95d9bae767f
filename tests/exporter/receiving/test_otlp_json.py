"""OTLP in JSON says what the same request says in protobuf, and one bad span of it costs one span."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger_exporter import dialects
from spanledger_exporter.dialects import RESOURCE_ATTRIBUTES, WANTED, WANTED_RESOURCE
from spanledger_exporter.errors import RejectedError
from spanledger_exporter.receiving import otlp, otlp_json
from tests.exporter.otlp_requests import CHAT, document, request, span, spans_of

SURROGATES = "a \ud83d cut emoji"


def converted(made: object) -> otlp_json.Converted:
    return otlp_json.convert(json.dumps(made).encode(), WANTED, WANTED_RESOURCE)


def decoded(body: bytes) -> otlp.Batch:
    return otlp.decode(body, RESOURCE_ATTRIBUTES)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*CHAT, "gen_ai.prompt", "app.other"]),
        st.one_of(st.text(st.characters(codec="utf-8")), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats()),
    ),
    st.booleans(),
)
def test_json_is_decoded_as_the_same_request_in_protobuf(attributes: dict[str, Any], failed: bool) -> None:
    sent = request(span({**CHAT, **attributes}, failed=failed), span({"app.other": 1}))
    found = converted(document(sent))
    assert (found.refused, found.unreadable) == ([], 0)
    # By text: a NaN is not equal to itself.
    batches = decoded(found.body), decoded(sent.SerializeToString())
    by_json, by_protobuf = (dialects.understand(batch.spans) for batch in batches)
    assert repr(by_json) == repr(by_protobuf)


def test_every_spelling_that_the_specification_allows_is_read() -> None:
    made = document(request(span(failed=True)))
    (first,) = spans_of(made)
    expected = decoded(converted(made).body).spans
    assert expected[0].failed
    first["traceId"] = first["traceId"].upper()
    first["startTimeUnixNano"] = int(first["startTimeUnixNano"])
    first["attributes"] = [
        {**pair, "value": {"intValue": int(pair["value"]["intValue"])}} if "intValue" in pair["value"] else pair
        for pair in first["attributes"]
    ]
    first["unknown"] = made["unknown"] = {"deep": [{"er": None}]}
    first["span_id"] = "00"  # a name that is not lowerCamelCase is unknown
    assert decoded(converted(made).body).spans == expected


BREAKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "id of another type": lambda each: each.update(traceId=5),
    "id that is not hex": lambda each: each.update(spanId="xyz"),
    "id with spaces": lambda each: each.update(spanId="00 11 22 33 44 55 66 77"),
    "time of text": lambda each: each.update(endTimeUnixNano="soon"),
    "time below zero": lambda each: each.update(endTimeUnixNano=-1),
    "time beyond 64 bits": lambda each: each.update(endTimeUnixNano=2**64),
    "kind by its name": lambda each: each.update(kind="SPAN_KIND_CLIENT"),
    "attributes that are none": lambda each: each.update(attributes="x"),
    "status that is none": lambda each: each.update(status=[]),
}


@pytest.mark.parametrize("break_it", BREAKS.values(), ids=BREAKS.keys())
def test_a_bad_span_is_refused_alone(break_it: Callable[[dict[str, Any]], None]) -> None:
    made = document(request(span(), span(), span()))
    break_it(spans_of(made)[1])
    found = converted(made)
    assert len(decoded(found.body).spans) == 2
    (refused,) = found.refused
    assert refused.detail.startswith("a span in JSON: ")
    assert refused.size > 0


@pytest.mark.parametrize(
    "pair",
    [
        {"key": 5},
        7,
        {"key": "gen_ai.request.model", "value": {"intValue": "many"}},
        {"key": "gen_ai.request.model", "value": {"intValue": str(2**63)}},
        {"key": "gen_ai.request.model", "value": "x"},
    ],
)
def test_an_unreadable_attribute_costs_itself_alone(pair: object) -> None:
    made = document(request(span()))
    expected = decoded(converted(made).body).spans
    spans_of(made)[0]["attributes"].append(pair)
    found = converted(made)
    assert (decoded(found.body).spans, found.unreadable, found.refused) == (expected, 1, [])


@pytest.mark.parametrize("where", ["name", "content", "wanted"])
def test_a_text_that_was_cut_within_an_emoji_costs_nothing(where: str) -> None:
    """JavaScript writes half a surrogate pair as an escape; only the half is lost."""
    made = document(request(span()))
    (first,) = spans_of(made)
    if where == "name":
        first["name"] = SURROGATES
    else:
        key = "app.content" if where == "content" else "gen_ai.request.model"
        first["attributes"].append({"key": key, "value": {"stringValue": SURROGATES + "\\ud800 😀"}})
    found = converted(made)
    assert (found.refused, found.unreadable) == ([], 0)
    (read,) = dialects.understand(decoded(found.body).spans).records
    if where == "wanted":
        assert read.profile.request_model == "a \ufffd cut emoji\\ud800 😀"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "truncated"),
        (b"garbage", "malformed"),
        (b"[]", "Expected `object`"),
        (b'{"resourceSpans":{}}', "Expected `array | null`"),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nests too deeply"),
        (b'{"x":[' + b"0," * 4_000_001 + b"0]}", "more than 4000000 values"),
    ],
    ids=["empty", "garbage", "array", "object", "deep", "wide"],
)
def test_what_is_no_request_is_rejected_and_says_why(body: bytes, said: str) -> None:
    with pytest.raises(RejectedError, match=said.replace("|", r"\|")):
        otlp_json.convert(body, WANTED, WANTED_RESOURCE)


@pytest.mark.parametrize("missing", ["resource", "scope"])
def test_a_resource_or_scope_that_cannot_be_read_costs_no_span(missing: str) -> None:
    made = document(request(span()))
    group = made["resourceSpans"][0]
    (group if missing == "resource" else group["scopeSpans"][0])[missing] = "x"
    assert len(decoded(converted(made).body).spans) == 1


def test_nested_arrays_end_at_a_depth() -> None:
    made = document(request(span()))
    value: dict[str, Any] = {"stringValue": "x"}
    for _ in range(100):
        value = {"arrayValue": {"values": [value]}}
    spans_of(made)[0]["attributes"].append({"key": "gen_ai.response.finish_reasons", "value": value})
    assert len(decoded(converted(made).body).spans) == 1
