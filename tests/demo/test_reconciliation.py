"""What counts as a difference between the provider and the ledger: everything."""

from decimal import Decimal

import pytest

from spanledger_demo.reconciliation import Metrics, Reconciliation, ledger_side, provider_side, reconcile

LINE = {
    "calls": 2,
    "errors": 1,
    "interrupted": 0,
    "unpriced": 0,
    "input_tokens": 1000,
    "cache_read_tokens": 300,
    "cache_write_5m_tokens": 200,
    "cache_write_1h_tokens": 100,
    "output_tokens": 50,
    "reasoning_tokens": 20,
    "cost_usd": "0.0000000100",
}
MODEL = {"provider": "openai", "model": "m-2026"}
ANSWERS = [{"response_id": "resp_1"}, {"response_id": None}]
ENTRY = {
    "provider": "openai",
    "request_model": "m",
    "response_model": "m-2026",
    "response_id": "resp_1",
    "outcome": "ok",
    "price_status": "priced",
    "error_type": None,
    "input_tokens": 1000,
    "cache_read_tokens": 300,
    "cache_write_5m_tokens": 200,
    "cache_write_1h_tokens": 100,
    "output_tokens": 50,
    "reasoning_tokens": 20,
    "cost_usd": "0.00000001",
}
TOKENS = [name for name in ENTRY if name.endswith("_tokens")]
FAILED = {
    **ENTRY,
    **dict.fromkeys(TOKENS),
    "request_model": "m-2026",
    "response_model": None,
    "response_id": None,
    "outcome": "error",
    "price_status": "none",
    "error_type": "overloaded_error",
    "cost_usd": None,
}
METRICS = Metrics(calls=2.0, cost_usd=0.00000001)


def compare(line=LINE, entries=(ENTRY, FAILED), metrics=METRICS, answers=ANSWERS) -> Reconciliation:
    return reconcile(provider_side({**line, "models": [{**MODEL, **line}]}, answers), ledger_side(entries), metrics)


def test_equal_sides_match_and_are_told_in_full():
    result = compare().as_dict()
    assert result["match"] is True
    assert result["differences"] == []
    assert result["provider_calls"] == result["ledger_entries"] == 2
    assert result["provider_errors"] == result["ledger_errors"] == 1
    assert result["provider_input_tokens"] == result["ledger_input_tokens"] == 1000
    assert result["provider_output_tokens"] == result["ledger_output_tokens"] == 50
    assert result["provider_cost_usd"] == result["cost_usd"] == "0.00000001"
    assert result["unpriced"] == 0


@pytest.mark.parametrize("name", [name for name in LINE if name not in ("cost_usd", "interrupted")])
def test_one_more_of_anything_is_a_difference(name):
    result = compare(line={**LINE, name: LINE[name] + 1})
    assert not result.match
    assert any(name.replace("_", " ") in each for each in result.differences)


def test_an_answer_that_broke_off_is_an_error_to_the_ledger():
    assert compare(line={**LINE, "errors": 0, "interrupted": 1}).match


def test_the_last_decimal_is_a_difference():
    assert not compare(line={**LINE, "cost_usd": "0.000000010000000001"}).match


def test_a_lost_and_a_doubled_entry_are_differences():
    assert not compare(entries=(ENTRY,)).match
    assert not compare(entries=(ENTRY, ENTRY, FAILED)).match


def test_figures_under_the_wrong_model_are_a_difference_though_the_sums_agree():
    result = compare(entries=({**ENTRY, "response_model": "other"}, FAILED))
    assert any(each.startswith("openai other") for each in result.differences)
    assert not any(each.startswith("in all") for each in result.differences)


def test_answers_that_changed_places_are_named():
    result = compare(entries=({**ENTRY, "response_id": "resp_2"}, FAILED))
    assert result.differences == [
        "answer resp_1 is not in the ledger",
        "answer resp_2 is in the ledger, but the provider never gave it",
    ]


@pytest.mark.parametrize("metrics", [Metrics(calls=3.0, cost_usd=1e-8), Metrics(calls=2.0, cost_usd=2e-8)])
def test_metrics_that_say_something_else_are_a_difference(metrics):
    (difference,) = compare(metrics=metrics).differences
    assert difference.startswith("/metrics")


def test_metrics_may_differ_by_what_a_float_cannot_hold():
    assert compare(metrics=Metrics(calls=2.0, cost_usd=0.00000001 * (1 + 1e-12))).match


def test_an_unpriced_entry_is_counted_and_its_cost_is_not_taken_for_zero():
    unpriced = {**ENTRY, "price_status": "unpriced", "cost_usd": None}
    result = compare(entries=(unpriced, FAILED), metrics=Metrics(calls=2.0, cost_usd=0.0))
    assert result.as_dict()["unpriced"] == 1
    assert not result.match
    agreed = compare(
        line={**LINE, "unpriced": 1, "cost_usd": None},
        entries=(unpriced, FAILED),
        metrics=Metrics(calls=2.0, cost_usd=0.0),
    )
    assert agreed.match


def test_no_calls_at_all_is_no_match():
    nothing = {**dict.fromkeys(LINE, 0), "cost_usd": "0"}
    result = reconcile(provider_side({**nothing, "models": []}, []), ledger_side([]), Metrics(calls=0.0, cost_usd=0.0))
    assert result.differences == ["the provider answered no call at all"]


def test_sums_are_exact():
    entries = [{**ENTRY, "cost_usd": "0.000000000001"}] * 3
    assert ledger_side(entries).total.cost_usd == Decimal("0.000000000003")
