"""Expressions of PromQL, as all panels put them together.

What the exporter reads from its ledger, each replica shows whole: one of them is taken, `max without (instance, pod)`,
before anything is summed. What each replica counts of its own doing is summed. docs/metrics.md says which is which.
"""

from typing import Final

DIMENSIONS: Final = ("service", "environment", "team", "project", "provider", "model")
"""What the dashboards may be narrowed by; a metric that lacks one matches `.*`."""
RATE: Final = "$__rate_interval"
RANGE: Final = "$__range"
ALERTS: Final = "Spanledger.*|GenAI.*"
FORECASTS: Final = {"low": "0.1", "likely": "0.5", "high": "0.9"}
"""The quantiles of a forecast."""
_ALL_USED: Final = 'at_least="100"'


def selector(*names: str, extra: str = "") -> str:
    """Return the matchers of the dashboard's variables, and others."""
    matchers = [f'{name}=~"${name}"' for name in names]
    return "{" + ",".join([*matchers, *([extra] if extra else [])]) + "}"


def spend(metric: str, extra: str = "") -> str:
    """Return the series of a metric with the dimensions."""
    return metric + selector(*DIMENSIONS, extra=extra)


def one(expression: str) -> str:
    """Return the series of one replica of those that all show the same."""
    return f"max without (instance, pod) ({expression})"


def total(expression: str, by: str = "") -> str:
    """Return a sum."""
    return f"sum by ({by}) ({expression})" if by else f"sum({expression})"


def rise(metric: str, by: str = "", extra: str = "", before: str = "") -> str:
    """Return by how much counters of the ledger rose in the range that is shown, or as long `before` it.

    They never fall, nor begin anew with an exporter, so that it is the most of any replica less the least of any:
    docs/decisions/0019 says why that is better than `increase()`.
    """
    seen = f"{spend(metric, extra)}[{RANGE}]{f' offset {before}' if before else ''}"
    return total(f"{one(f'max_over_time({seen})')} - min without (instance, pod) (min_over_time({seen}))", by)


def rate(metric: str, by: str = "", extra: str = "") -> str:
    """Return how fast counters of the ledger rise, a second."""
    return total(one(f"rate({spend(metric, extra)}[{RATE}])"), by)


def hourly(metric: str, by: str = "", extra: str = "") -> str:
    """Return how fast counters of the ledger rise, an hour."""
    return f"3600 * {rate(metric, by, extra)}"


def now(metric: str, by: str = "", extra: str = "") -> str:
    """Return what gauges from the ledger say."""
    return total(one(spend(metric, extra)), by)


def share(part: str, whole: str) -> str:
    """Return a part of a whole, and nothing where the whole is nothing."""
    return f"{part} / ({whole} > 0)"


def or_none(expression: str, whole: str) -> str:
    """Return 0 where there is a whole, and of this no series: then it is known to be none."""
    return f"({expression} or 0 * {whole})"


def priced(counting: str, by: str = "") -> str:
    """Return how many calls have a price, `counting` them by `rise` or `rate`: the others are in no mean cost."""
    count = {"rise": rise, "rate": rate}[counting]
    calls = count("genai_calls_total", by)
    return f"({calls} - {or_none(count('genai_unpriced_calls_total', by), calls)})"


def tokens(counting: str, by: str = "", extra: str = "") -> str:
    """Return how many tokens were used, `counting` them by `rise` or `rate`; nothing where that is not known.

    A call whose usage was not reported adds none: where there are such calls, and no token of any other, it is not 0.
    """
    count = {"rise": rise, "rate": rate}[counting]
    # By type of token there are no calls.
    shared = ", ".join(name for name in by.split(", ") if name != "token_type")
    of = "" if shared == by else f" on ({shared})"
    none = f"{count('genai_unreported_calls_total', shared)} > 0 unless {count('genai_tokens_total', shared)} > 0"
    return f"({count('genai_tokens_total', by, extra)} unless{of} ({none}))"


def reported(counting: str, by: str = "") -> str:
    """Return how many calls have a known usage: the others are in no mean of tokens."""
    count = {"rise": rise, "rate": rate}[counting]
    calls = count("genai_calls_total", by)
    unknown = count("genai_unreported_calls_total", by, 'usage_status="unreported"')
    return f"({calls} - {or_none(unknown, calls)})"


def quantile(
    part: float, metric: str, by: str = "", window: str = RATE, names: tuple[str, ...] = ("provider", "model")
) -> str:
    """Return a quantile of a histogram over all replicas; the comparison leaves out where nothing was observed."""
    labels = ", ".join(["le", *([by] if by else [])])
    buckets = f"rate({metric}_bucket{selector(*names) if names else ''}[{window}])"
    return f"histogram_quantile({part}, sum by ({labels}) ({buckets})) >= 0"


def buckets(metric: str) -> str:
    """Return how many observations a second fall into each bucket of a histogram, over all replicas.

    Not how many there were: the windows of neighbouring points overlap, so that `increase` would count each of them
    several times where the points are close, and over windows that do not overlap it misses what lies between them.
    """
    return total(f"rate({metric}_bucket{selector('provider', 'model')}[{RATE}])", "le")


def counted(metric: str, by: str = "", extra: str = "", window: str = RATE, function: str = "rate") -> str:
    """Return what each replica counts of itself, together."""
    return total(f"{function}({metric}{selector('instance', extra=extra)}[{window}])", by)


def highest(metric: str, by: str, matchers: str = "") -> str:
    """Return a gauge that all replicas read from the ledger, and of which one that is behind shows less."""
    return f"max by ({by}) ({metric}{matchers})"


def lowest(metric: str, by: str, matchers: str = "") -> str:
    """Return a gauge that all replicas read from the ledger, and of which one that is behind shows more."""
    return f"min by ({by}) ({metric}{matchers})"


def month_forecast(name: str) -> str:
    """Return what the month is likely to come to, low, likely or high."""
    return f"max(genai_month_forecast_usd{selector(extra=_of(FORECASTS[name]))})"


def budget_forecast(name: str, by: str) -> str:
    """Return which share of budgets' limits is likely to be used at the end, low, likely or high."""
    return highest("genai_budget_forecast_ratio", by, selector("budget", extra=_of(FORECASTS[name])))


def _of(part: str) -> str:
    return f'quantile="{part}"'


def budgets(*names: str) -> str:
    """Return 1 for each budget, also where none of its groups has a series: those of users, sessions and keys."""
    return f"max by (budget) (genai_budget_mode_info{selector(*names)})"


def at_their_limit(*names: str) -> str:
    """Return how many budgets have used their limit, or have a group that did; -1 where that is not known of any.

    Of a budget per user, session or key it is known where 100 is one of its thresholds, as it is unless they are given.
    """
    groups = f"max by (budget) (genai_budget_groups{selector(*names, extra=_ALL_USED)}) > bool 0"
    used = f"max by (budget) (genai_budget_used_ratio{selector(*names)}) >= bool 1"
    return f"sum({groups} or {used}) or -1 * max({budgets(*names)})"
