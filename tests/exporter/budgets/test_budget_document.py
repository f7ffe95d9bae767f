"""Documents of budgets: what they declare comes back the same, and whatever is wrong is said, all of it at once."""

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_exporter.budgets.budget import (
    DIMENSIONS,
    MODES,
    ON_UNPRICED,
    ON_UNREACHABLE,
    UNITS,
    Budget,
    matches,
)
from spanledger_exporter.budgets.budget_reader import AMOUNT_MAX, KEYS, RATE_PUSD_MAX, THRESHOLD_MAX, WEEKDAYS, Reader
from spanledger_exporter.budgets.document import from_document, from_json, group_text, to_document, to_json
from spanledger_exporter.budgets.periods import KINDS, Period
from spanledger_exporter.errors import ConfigError
from tests.exporter.budgets.counted import declared

WHOLE = {
    "name": "search.gpt-5",
    "description": "what search may cost",
    "limit_usd": "250.000001",
    "scope": {"model": ["gpt-5*", "o3"], "team": ["search"]},
    "per": ["user", "project"],
    "period": "quarter",
    "timezone": "Asia/Kolkata",
    "day": 31,
    "month": 4,
    "rollover": True,
    "rollover_max_usd": "20",
    "mode": "hard",
    "thresholds": [50, 120],
    "on_unpriced": "rate",
    "default_rate": {"input_mtok": "2.5", "output_mtok": "10"},
    "on_unreachable": "safe",
    "safe_usd": "0.5",
}


def problems(document: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_document(document)
    return list(caught.value.problems)


def test_every_key_says_what_it_says() -> None:
    assert from_document(WHOLE) == Budget(
        name="search.gpt-5",
        description="what search may cost",
        limit=250_000_001,
        scope={"model": ("gpt-5*", "o3"), "team": ("search",)},
        per=("user", "project"),
        period=Period(kind="quarter", timezone="Asia/Kolkata", day=31, month=4),
        rollover=True,
        rollover_max=20_000_000,
        mode="hard",
        thresholds=(50, 120),
        on_unpriced="rate",
        input_rate_pusd=2_500_000,
        output_rate_pusd=10_000_000,
        on_unreachable="safe",
        safe_allowance=500_000,
    )
    assert to_document(from_document(WHOLE)) == WHOLE
    assert list(to_document(from_document(WHOLE))) == [key for key in KEYS if key in WHOLE]


def test_what_is_not_said_is_as_the_docs_say() -> None:
    assert to_document(from_document({"name": "all", "limit_calls": 5})) == {
        "name": "all",
        "limit_calls": 5,
        "period": "month",
        "timezone": "UTC",
        "mode": "soft",
    }
    assert from_document({"name": "all", "limit_calls": 5}).thresholds == (75, 90, 100)


amounts = st.integers(1, AMOUNT_MAX)
texts = st.text(st.characters(categories=("L", "N", "P", "Zs"), include_characters="*"), max_size=30).filter(
    str.isprintable
)


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    kind = draw(st.sampled_from(KINDS))
    first = draw(st.dates(date(1970, 1, 1), date(2900, 1, 1)))
    anchors: dict[str, Any] = {
        "week": {"weekday": draw(st.integers(1, 7))},
        "month": {"day": draw(st.integers(1, 31))},
        "quarter": {"day": draw(st.integers(1, 31)), "month": draw(st.integers(1, 12))},
        "year": {"day": draw(st.integers(1, 31)), "month": draw(st.integers(1, 12))},
        "days": {"days": draw(st.integers(1, 3660)), "since": draw(st.none() | st.just(first))},
        "range": {"since": first, "until": date.fromordinal(first.toordinal() + draw(st.integers(1, 5000)))},
    }.get(kind, {})
    unit = draw(st.sampled_from(UNITS))
    rollover = kind != "range" and draw(st.booleans())
    on_unpriced = draw(st.sampled_from(ON_UNPRICED if unit == "usd" else ("alert", "refuse")))
    rates = st.integers(0, RATE_PUSD_MAX) if on_unpriced == "rate" else st.just(0)
    on_unreachable = draw(st.sampled_from(ON_UNREACHABLE))
    thresholds = draw(st.lists(st.integers(1, THRESHOLD_MAX), unique=True, max_size=20))
    return Budget(
        name=draw(st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,62}", fullmatch=True)),
        limit=draw(amounts),
        unit=unit,  # type: ignore[arg-type]
        scope=draw(st.dictionaries(st.sampled_from(DIMENSIONS), st.lists(texts, min_size=1, max_size=3).map(tuple))),
        per=tuple(draw(st.lists(st.sampled_from(DIMENSIONS), unique=True, max_size=8))),
        period=Period(kind=kind, timezone=draw(st.sampled_from(["UTC", "Africa/Cairo"])), **anchors),  # type: ignore[arg-type]
        rollover=rollover,
        rollover_max=draw(st.none() | amounts) if rollover else None,
        mode=draw(st.sampled_from(MODES)),  # type: ignore[arg-type]
        thresholds=tuple(sorted(thresholds)),
        on_unpriced=on_unpriced,  # type: ignore[arg-type]
        input_rate_pusd=draw(rates),
        output_rate_pusd=draw(rates),
        on_unreachable=on_unreachable,  # type: ignore[arg-type]
        safe_allowance=draw(amounts) if on_unreachable == "safe" else 0,
        description=draw(texts),
    )


@given(budgets())
def test_a_budget_comes_back_from_its_document(budget: Budget) -> None:
    assert from_document(to_document(budget)) == budget
    assert from_json(to_json(budget)) == budget


@pytest.mark.parametrize(
    ("said", "micro_usd"),
    [
        (250, 250_000_000), ("250.5", 250_500_000), (Decimal("0.000001"), 1), (0.1, 100_000), ("1e3", 10**9),
        (12_345_678_901, 12_345_678_901 * 10**6), ("1000000000000", 10**18),
    ],
)  # fmt: skip
def test_amounts_are_exact(said: Any, micro_usd: int) -> None:
    assert from_document({"name": "all", "limit_usd": said}).limit == micro_usd


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"name": "Search!"}, "name must be of 1 to 63 small letters"),
        ({"name": None}, "name must be of 1 to 63"),
        ({"name": "a" * 64}, "name must be of 1 to 63"),
        ({"limit_tokens": 5}, "give one of limit_usd, limit_tokens, limit_calls, and no other"),
        ({"limit_usd": 0}, "limit_usd must be more than 0, not 0"),
        ({"limit_usd": -1}, "limit_usd must be a number of 0 or more, not -1"),
        ({"limit_usd": True}, "limit_usd must be a number of 0 or more, not True"),
        ({"limit_usd": "0.0000001"}, "limit_usd must be of at most 6 decimals, not '0.0000001'"),
        ({"limit_usd": Decimal("1.00000000000000000000000000000001")}, "limit_usd must be of at most 6 decimals"),
        ({"limit_usd": "1e-999999999"}, "limit_usd must be at most 1000000000000, of at most 6 decimals"),
        ({"limit_usd": "1e999999999"}, "limit_usd must be at most 1000000000000, of at most 6 decimals"),
        ({"limit_usd": 10**5000}, "not a value that is too large to be shown"),
        ({"limit_usd": float("nan")}, "limit_usd must be a number of 0 or more"),
        ({"limit_usd": Decimal("Infinity")}, "limit_usd must be a number of 0 or more"),
        ({"limit_usd": "many"}, "limit_usd must be a number of 0 or more, not 'many'"),
        ({"limit_usd": [1]}, "limit_usd must be a number of 0 or more, not [1]"),
        ({"scope": "search"}, 'scope must be a table such as { team = "search" }, not \'search\''),
        ({"scope": {"colour": "red"}}, "scope: unknown dimension 'colour'; known are service, environment, tenant"),
        ({"scope": {"team": []}}, "scope.team must be of 1 to 1000 names"),
        ({"scope": {"team": [1]}}, "scope.team must be a text or a list of names"),
        ({"scope": {"team": "a\nb"}}, "scope.team must be a text or a list of names"),
        ({"scope": {"team": "\ud800"}}, "scope.team must be a text or a list of names"),
        ({"per": ["user", "colour"]}, "per: unknown dimension 'colour'; known are service"),
        ({"per": ["user", "user"]}, "per names a dimension more than once"),
        ({"per": list(DIMENSIONS)}, "per must be of at most 8 dimensions"),
        ({"period": "fortnight"}, "period must be one of hour, day, week, month, quarter, year, days, range"),
        ({"period": 7}, "period must be one of hour"),
        ({"timezone": "Mars/Base"}, "timezone 'Mars/Base' is no name of the IANA database"),
        ({"timezone": "../../etc/passwd"}, "is no name of the IANA database"),
        ({"timezone": 1}, "timezone must be a text of at most 512 characters"),
        ({"weekday": "mon"}, "weekday does not belong to a period of one month"),
        ({"period": "week", "weekday": 1}, "weekday must be one of mon, tue, wed, thu, fri, sat, sun, not 1"),
        ({"day": 32}, "day must be a whole number from 1 to 31, not 32"),
        ({"day": True}, "day must be a whole number from 1 to 31, not True"),
        ({"period": "year", "month": 0}, "month must be a whole number from 1 to 12"),
        ({"period": "days"}, "a period of days needs days"),
        ({"period": "days", "days": 0}, "days must be a whole number from 1 to 3660"),
        ({"period": "range", "since": date(2026, 1, 1)}, "a period of range needs until"),
        ({"period": "range", "since": "2026-02-01", "until": "2026-02-01"}, "until must be later than since"),
        ({"period": "range", "since": "2026-02-30", "until": "2026-03-01"}, "since must be a date such as 2026-01-31"),
        ({"period": "range", "since": datetime(2026, 2, 1), "until": date(9999, 12, 31)}, "since must be a date"),  # noqa: DTZ001
        ({"period": "range", "since": "2026-01-01", "until": "2027-01-01", "rollover": True}, "nothing rolls over"),
        ({"rollover": 1}, "rollover must be true or false, not 1"),
        ({"rollover_max_usd": 5}, "rollover_max belongs to rollover = true"),
        ({"rollover": True, "rollover_max_calls": 5}, "rollover_max_calls is of another unit than limit_usd"),
        ({"mode": "strict"}, "mode must be one of soft, hard, not 'strict'"),
        ({"thresholds": [0]}, "thresholds must be at most 20 whole numbers of percent from 1 to 1000"),
        ({"thresholds": 75}, "thresholds must be at most 20 whole numbers"),
        ({"thresholds": [75.5]}, "thresholds must be at most 20 whole numbers"),
        ({"thresholds": list(range(1, 22))}, "thresholds must be at most 20 whole numbers"),
        ({"on_unpriced": "rate"}, 'on_unpriced = "rate" and default_rate belong together'),
        ({"default_rate": {"input_mtok": 1, "output_mtok": 1}}, 'on_unpriced = "rate" and default_rate belong'),
        ({"on_unpriced": "rate", "default_rate": {"input_mtok": 1}}, "default_rate must be USD for a million tokens"),
        ({"on_unpriced": "rate", "default_rate": {"input_mtok": "1e5", "output_mtok": 1}},
         "default_rate.input_mtok must be at most 10000"),
        ({"on_unreachable": "safe"}, 'on_unreachable = "safe" and a safe allowance of more than 0 belong together'),
        ({"safe_usd": 1}, 'on_unreachable = "safe" and a safe allowance'),
        ({"safe_tokens": 1}, "safe_tokens is of another unit than limit_usd"),
        ({"description": "a\x00b"}, "description must be a text of at most 512 characters"),
        ({"limit": 5}, "unknown key 'limit'; known are name, description, limit_usd"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(said: dict[str, Any], problem: str) -> None:
    found = problems({"name": "all", "limit_usd": 100} | said)
    assert [each for each in found if problem in each], found
    assert len(found) == 1 or "needs" not in problem
    assert all(len(each) < 500 for each in found)


def test_every_problem_is_said_at_once() -> None:
    found = problems({"limit_usd": -1, "scope": {"colour": 1}, "period": "x", "mode": "y", "tresholds": [1], "per": 3})
    assert [each.split(" ", 2)[0] for each in found] == [
        "name",
        "limit_usd",
        "scope:",
        "per",
        "period",
        "mode",
        "unknown",
    ]


def test_rates_are_for_limits_in_usd() -> None:
    rate = {"on_unpriced": "rate", "default_rate": {"input_mtok": 1, "output_mtok": 1}}
    assert problems({"name": "all", "limit_tokens": 5, **rate}) == ['on_unpriced = "rate" is for a limit in USD']


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", "[" * 10_000, '{"name": "a", "limit_calls": ' + "9" * 5000 + "}"]
)
def test_text_that_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        from_json(text)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*KEYS, *DIMENSIONS]) | st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(), json_values))
def test_whatever_a_document_says_it_is_a_budget_or_problems(document: dict[str, Any]) -> None:
    reader = Reader(document)
    budget = reader.budget()
    assert (budget is None) == bool(reader.problems)
    if budget is not None:
        assert from_json(to_json(budget)) == budget


def test_a_group_is_shown_by_its_values() -> None:
    budget = declared(per=["team", "model"])
    assert group_text(budget, json.dumps(["search", None])) == "team=search,model="
    assert group_text(budget, "") == ""


def test_a_pattern_of_many_parts_takes_no_time() -> None:
    assert not matches(("*a" * 250 + "b",), "a" * 10_000)
    assert matches(("*a" * 250,), "a" * 10_000)
    assert matches(("**",), None)


@given(st.lists(st.text("ab", max_size=3), min_size=2, max_size=5), st.text("ab", max_size=12))
def test_a_pattern_matches_where_its_parts_follow_each_other(parts: list[str], value: str) -> None:
    def follows(rest: list[str], text: str) -> bool:
        if len(rest) == 1:
            return text.endswith(rest[0])
        starts = [at for at in range(len(text) + 1) if text.startswith(rest[0], at)]
        return any(follows(rest[1:], text[at + len(rest[0]) :]) for at in starts)

    expected = value.startswith(parts[0]) and follows(parts[1:], value[len(parts[0]) :])
    assert matches(("*".join(parts),), value) == expected


def test_the_weekdays_begin_with_monday() -> None:
    shown = [from_document({"name": "a", "limit_calls": 1, "period": "week", "weekday": day}) for day in WEEKDAYS]
    assert [budget.period.weekday for budget in shown] == [1, 2, 3, 4, 5, 6, 7]
