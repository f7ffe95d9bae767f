"""What each stat of the dashboards that ask Prometheus should say, asked of the ledger in SQL; or why nobody can ask.

A stat is told by its dashboard and title. Figures of a time are sums over the entries that ended in it, or a part of
one by another. Those of now are asked of the budgets' sums.
"""

from typing import Final, NamedTuple

Stat = tuple[str, str]


class Figure(NamedTuple):
    """A sum over entries, `less` another, by a `whole` where it is a share; no entry adds less than 0."""

    part: str
    whole: str = ""
    less: str = ""


COST, CALLS = "sum(cost_pusd) / 1e12", "count(*)"
TOKENS: Final = "sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0))"
INPUT, READ = "sum(input_tokens)", "sum(least(coalesce(cache_read_tokens, 0), coalesce(input_tokens, 0)))"
FAILED: Final = "count(*) FILTER (WHERE outcome = 'error')"
LIMITED: Final = "count(*) FILTER (WHERE http_status = 429)"
RETRIES: Final = "count(*) FILTER (WHERE resend_count > 0)"
UNPRICED: Final = "count(*) FILTER (WHERE price_status = 'unpriced')"
UNKNOWN_USAGE: Final = "count(*) FILTER (WHERE usage_status IN ('unreported', 'partial') AND price_status <> 'free')"
PRICED: Final = f"({CALLS} - {UNPRICED})"
SAVED, PREMIUM = (f"sum({name}_pusd) / 1e12" for name in ("cache_saved", "cache_write_premium"))
MODELS: Final = "count(DISTINCT (provider, coalesce(response_model, request_model)))"

OF_A_TIME: Final[dict[Stat, Figure]] = {
    ("overview", "Cost"): Figure(COST),
    ("overview", "Calls"): Figure(CALLS),
    ("overview", "Calls that fail"): Figure(FAILED, CALLS),
    ("overview", "Cost unknown"): Figure(UNPRICED, CALLS),
    ("overview", "Cost for a call"): Figure(COST, PRICED),
    ("spend", "Cost"): Figure(COST),
    ("spend", "USD per million tokens"): Figure(f"1e6 * {COST}", TOKENS),
    ("providers", "Calls that fail"): Figure(FAILED, CALLS),
    ("providers", "Refused for a limit"): Figure(LIMITED, CALLS),
    ("providers", "Retries"): Figure(RETRIES, CALLS),
    ("models", "Cost for a call"): Figure(COST, PRICED),
    ("models", "Cache hits"): Figure(READ, INPUT),
    ("models", "Net saved by caches"): Figure(SAVED, less=PREMIUM),
    ("models", "Paid for writes"): Figure(PREMIUM),
    ("models", "Net saved per USD"): Figure(SAVED, COST, less=PREMIUM),
    ("models", "Models"): Figure(MODELS),
    ("quality", "Cost unknown"): Figure(UNPRICED, CALLS),
    ("quality", "Usage unknown"): Figure(UNKNOWN_USAGE, CALLS),
}

# The newest period of each budget.
_PERIODS: Final = (
    "FROM budget_spend AS shown WHERE period_start_s = "
    "(SELECT max(period_start_s) FROM budget_spend AS other WHERE other.budget = shown.budget)"
)
_USD: Final = "cost_micro_usd + cost_rest_pusd / 1000000"
_SPENT: Final = f"CASE unit WHEN 'usd' THEN {_USD} WHEN 'tokens' THEN tokens ELSE calls END"
_AT_THEIR_LIMIT: Final = f"SELECT count(DISTINCT budget) FILTER (WHERE {_SPENT} >= limit_amount) AS value {_PERIODS}"
# Of one that is per user nothing is shown by group.
_SHOWN_IN_USD: Final = "unit = 'usd' AND budget <> 'users'"
OF_NOW: Final[dict[Stat, str]] = {
    ("overview", "Budgets at their limit"): _AT_THEIR_LIMIT,
    ("budgets", "At their limit"): _AT_THEIR_LIMIT,
    ("budgets", "Budgets"): "SELECT count(DISTINCT budget) AS value FROM budget_spend",
    ("budgets", "Cost unknown"): f"SELECT sum(unpriced_calls) AS value {_PERIODS} AND {_SHOWN_IN_USD}",
}

IN_TESTS_OF_THEIR_OWN: Final[dict[Stat, str]] = {
    ("overview", "Month to date"): "test_the_month_is_the_ledgers",
    ("spend", "Month to date"): "test_the_month_is_the_ledgers",
    ("spend", "Against the time before"): "test_a_time_is_set_against_the_one_before",
    ("budgets", "Refused calls"): "test_the_first_refused_calls_are_seen",
}

_FORECAST, _BUCKETS = "a forecast is no sum", "it is as exact as the buckets of a histogram"
_PROMETHEUS, _OWN = "Prometheus' own, of what it scrapes", "each exporter counts it of itself"
NOT_IN_THE_LEDGER: Final[dict[Stat, str]] = {
    ("overview", "Month forecast"): _FORECAST,
    ("spend", "Month forecast"): _FORECAST,
    ("budgets", "Likely to exceed it"): _FORECAST,
    ("overview", "First chunk, p95"): _BUCKETS,
    ("providers", "Duration, p95"): _BUCKETS,
    ("providers", "First chunk, p95"): _BUCKETS,
    ("providers", "Tokens a second, p50"): _BUCKETS,
    ("exporter", "Commit, p99"): _BUCKETS,
    ("overview", "Alerts that fire"): _PROMETHEUS,
    ("overview", "Exporters"): _PROMETHEUS,
    ("exporter", "Replicas"): _PROMETHEUS,
    ("budgets", "Evaluated"): _OWN,
    ("exporter", "Not taken"): _OWN,
    ("exporter", "Entries a second"): _OWN,
    ("exporter", "Last commit"): _OWN,
    ("exporter", "Waiting"): _OWN,
    ("quality", "Told more than once"): _OWN,
    ("quality", "Dead letters"): _OWN,
    ("quality", "Age of the prices"): "no view has the price lists",
    ("quality", "Largest drift"): "it says itself how far the budgets are from the ledger",
}
