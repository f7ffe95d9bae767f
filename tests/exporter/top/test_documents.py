import json

import pytest
from hypothesis import given

from spanledger_exporter.errors import RejectedError
from spanledger_exporter.top.documents import from_document, to_document
from spanledger_exporter.top.overview import Overview
from tests.exporter.top.samples import overview, overviews


@given(overviews)
def test_an_overview_reads_back_from_its_json_as_it_was(made: Overview) -> None:
    assert from_document(json.loads(json.dumps(to_document(made)))) == made


def test_money_is_exact_text_and_times_say_their_zone() -> None:
    document = to_document(overview())
    assert document["at"] == "2026-11-18T11:06:40Z"
    assert document["lines"][0]["figures"]["cost_usd"] == "2.3456789"
    assert document["lines"][3]["figures"]["cost_usd"] is None
    assert document["budgets"][0]["run_out"] == "2026-11-19T11:06:40Z"
    assert not [key for key in _keys(document) if key.endswith(("_pusd", "_s"))]


def _keys(value: object) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for each in value.values() for key in _keys(each))]
    return [key for each in value for key in _keys(each)] if isinstance(value, list) else []


def test_what_a_later_version_adds_is_passed_over() -> None:
    assert from_document({**to_document(overview()), "later": {"cost_usd": "1", "at": None}}) == overview()


@pytest.mark.parametrize(
    "changes",
    [
        {"at": "yesterday"},
        {"at": "2026-11-18T11:06:40"},
        {"at": 5},
        {"at": None},
        {"window": "2h"},
        {"total": None},
        {"lines": [{"service": {}}]},
        {"outlook": {"low_usd": "1e5", "middle_usd": "0", "high_usd": "0"}},
        {"outlook": {"low_usd": 1.5, "middle_usd": "0", "high_usd": "0"}},
        {"calls": "none"},
        {"minutes": None},
    ],
)
def test_what_is_no_overview_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RejectedError, match="no overview"):
        from_document({**to_document(overview()), **changes})


@pytest.mark.parametrize("document", [None, [], "x", {}, {"at": "2026-11-18T11:06:40Z"}])
def test_other_json_is_refused(document: object) -> None:
    with pytest.raises(RejectedError, match="no overview"):
        from_document(document)
