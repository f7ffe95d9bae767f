"""Providers: whether they answer, how fast, and how much of their rate limits is left."""

from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.boards import colors, links, variables
from dashboards.boards.boards import Board
from dashboards.boards.looks import Column
from dashboards.boards.panels import COUNT, RATIO, SECONDS, WHOLE, Row, bars, grid, lines, number, spread
from dashboards.boards.queries import RANGE, buckets, or_none, quantile, rate, rise, selector, share
from dashboards.boards.targets import Prom

_CALLS = rise("genai_calls_total")
_DURATION = "genai_call_duration_seconds"
_FIRST_CHUNK = "genai_time_to_first_chunk_seconds"
_SPEED = "genai_output_tokens_per_second"
_SINGLE = "Dots are single calls, and lead to their traces. By provider and model only."
_LIMITS = ("service", "provider", "model", "kind")
LIMITED = "429|rate_limit.*|.*[Rr]ate_?[Ll]imit.*|RESOURCE_EXHAUSTED|Throttling.*|too_many_requests|insufficient_quota"
"""The providers' own words for HTTP's 429."""


def board() -> Board:
    """Return the dashboard."""
    return Board(
        name="providers",
        title="Spanledger · Providers",
        description="Errors, refusals, retries, what is left of rate limits, and how fast answers come.",
        variables=variables.for_spend(),
        rows=[
            Row("Now", _now()),
            Row("Errors", [_errors(), _failing(), _limited(), _retries(), _table()]),
            Row("Rate limits", [_left(), _left_over_time(), _limits()]),
            Row(
                "Speed",
                [_durations(), _first_chunks(), _speeds(), _duration_spread(), _first_chunk_spread(), _speed_spread()],
            ),
        ],
    )


def _now() -> list[Panel]:
    errors = or_none(rise("genai_call_errors_total"), _CALLS)
    limited = or_none(rise("genai_call_errors_total", extra=f'error_type=~"{LIMITED}"'), _CALLS)
    retries = or_none(rise("genai_retries_total"), _CALLS)
    return [
        number(
            "Calls that fail",
            "Share of the calls that ended in an error.",
            RATIO,
            Prom(share(errors, _CALLS), instant=True),
            links=[links.traces(failed=True)],
            steps=colors.FEW,
        ),
        number(
            "Refused for a limit",
            "Share of the calls that the provider refused because of a rate limit or quota, in whatever words.",
            RATIO,
            Prom(share(limited, _CALLS), instant=True),
            links=[links.traces(failed=True)],
            steps=colors.FEW,
        ),
        number(
            "Retries",
            "Share of the calls with which an SDK tried again.",
            RATIO,
            Prom(share(retries, _CALLS), instant=True),
            links=[links.traces()],
            steps=colors.FEW,
        ),
        number(
            "Duration, p95",
            "95 % of the calls take no longer. By provider and model only.",
            SECONDS,
            Prom(quantile(0.95, _DURATION, window=RANGE), instant=True),
            links=[links.traces()],
        ),
        number(
            "First chunk, p95",
            "95 % of the streams begin to answer within this time. By provider and model only.",
            SECONDS,
            Prom(quantile(0.95, _FIRST_CHUNK, window=RANGE), instant=True),
            links=[links.traces()],
        ),
        number(
            "Tokens a second, p50",
            "Half of the streams are faster, from their first chunk on. By provider and model only.",
            COUNT,
            Prom(quantile(0.5, _SPEED, window=RANGE), instant=True),
            links=[links.traces()],
        ),
    ]


def _errors() -> Panel:
    return lines(
        "Errors by type",
        "Calls a second that ended in an error, by the provider's word for it, else the exception's name or the "
        "HTTP status.",
        COUNT,
        Prom(rate("genai_call_errors_total", "provider, error_type"), "{{provider}} {{error_type}}"),
        axis="calls a second",
        links=[links.traces("provider", "error_type", failed=True)],
        stack=True,
        nothing="no errors",
    )


def _failing() -> Panel:
    calls = rate("genai_calls_total", "provider, model")
    errors = or_none(rate("genai_calls_total", "provider, model", 'outcome="error"'), calls)
    return lines(
        "Share that fails",
        "Of the calls of each model.",
        RATIO,
        Prom(share(errors, calls), "{{provider}} {{model}}"),
        links=[links.traces("provider", "model", failed=True)],
        steps=colors.FEW,
    )


def _limited() -> Panel:
    expr = rate("genai_call_errors_total", "provider, model", f'error_type=~"{LIMITED}"')
    return lines(
        "Refused for a limit",
        "Calls a second that the provider refused because of a rate limit or quota, in whatever words.",
        COUNT,
        Prom(expr, "{{provider}} {{model}}"),
        axis="calls a second",
        links=[links.traces("provider", "model", failed=True)],
        stack=True,
        nothing="none refused",
    )


def _retries() -> Panel:
    return lines(
        "Retries",
        "Calls a second with which an SDK tried again, by how they ended.",
        COUNT,
        Prom(rate("genai_retries_total", "outcome"), "{{outcome}}"),
        axis="calls a second",
        links=[links.traces()],
        stack=True,
        by_name=colors.OUTCOMES,
        nothing="no retries",
    )


def _table() -> Panel:
    by = "provider, model"
    calls = rise("genai_calls_total", by)
    errors = or_none(rise("genai_calls_total", by, 'outcome="error"'), calls)
    columns = {
        "calls": (calls, Column(unit=WHOLE, decimals=0)),
        "fail": (share(errors, calls), Column(unit=RATIO, decimals=1, steps=colors.FEW)),
        "retries": (share(or_none(rise("genai_retries_total", by), calls), calls), Column(unit=RATIO, decimals=1)),
        "duration, p50": (quantile(0.5, _DURATION, by, RANGE), Column(unit=SECONDS)),
        "duration, p95": (quantile(0.95, _DURATION, by, RANGE), Column(unit=SECONDS)),
        "first chunk, p95": (quantile(0.95, _FIRST_CHUNK, by, RANGE), Column(unit=SECONDS)),
        "tokens a second, p50": (quantile(0.5, _SPEED, by, RANGE), Column(unit=COUNT, decimals=1)),
    }
    return grid(
        "Models",
        "In the time that is shown. Times and speeds by provider and model only.",
        ("provider", "model"),
        columns,
        links=[links.traces("provider", "model", column=True), links.ledger("provider", "model", column=True)],
        sort="calls",
    )


def _of_limits(metric: str) -> str:
    return metric + selector("service", "provider", "model")


def _share_left() -> str:
    left = share(_of_limits("genai_rate_limit_remaining"), _of_limits("genai_rate_limit_limit"))
    return f"min by ({', '.join(_LIMITS)}) ({left})"


def _left() -> Panel:
    return bars(
        "Left of rate limits",
        "Share of each limit that is left, as the provider's newest answer said, of the twenty that are closest "
        "to their end.",
        RATIO,
        Prom(f"bottomk(20, {_share_left()})", "{{service}} {{provider}} {{model}} {{kind}}", instant=True),
        links=[links.traces("service", "provider", "model")],
        steps=colors.ENOUGH,
        high=1,
        nothing="no limits told",
    )


def _left_over_time() -> Panel:
    return lines(
        "Left of rate limits",
        "Share of each limit that is left. It jumps up where a window begins anew.",
        RATIO,
        Prom(_share_left(), "{{service}} {{provider}} {{model}} {{kind}}"),
        links=[links.traces("service", "provider", "model")],
        high=1,
        nothing="no limits told",
    )


def _limits() -> Panel:
    by = ", ".join(_LIMITS)
    columns = {
        "left": (f"min by ({by}) ({_of_limits('genai_rate_limit_remaining')})", Column(unit=COUNT)),
        "limit": (f"max by ({by}) ({_of_limits('genai_rate_limit_limit')})", Column(unit=COUNT)),
        "whole again": (
            f"1000 * max by ({by}) ({_of_limits('genai_rate_limit_reset_timestamp_seconds')})",
            Column(unit="dateTimeFromNow"),
        ),
    }
    return grid(
        "Rate limits",
        "In requests or tokens, as the kind says, and when the limit is whole again at the latest.",
        _LIMITS,
        columns,
        links=[links.traces("service", "provider", "model", column=True)],
        nothing="no limits told",
    )


def _durations() -> Panel:
    return lines(
        "Duration, p95",
        f"95 % of the calls take no longer. {_SINGLE}",
        SECONDS,
        Prom(quantile(0.95, _DURATION, "provider"), "{{provider}}", exemplars=True),
        links=[links.traces("provider")],
        width=8,
    )


def _first_chunks() -> Panel:
    return lines(
        "First chunk, p95",
        f"95 % of the streams begin to answer within this time. {_SINGLE}",
        SECONDS,
        Prom(quantile(0.95, _FIRST_CHUNK, "provider"), "{{provider}}", exemplars=True),
        links=[links.traces("provider")],
        width=8,
    )


def _speeds() -> Panel:
    return lines(
        "Tokens a second, p50",
        f"Half of the streams are faster, from their first chunk on. {_SINGLE}",
        COUNT,
        Prom(quantile(0.5, _SPEED, "provider"), "{{provider}}", exemplars=True),
        links=[links.traces("provider")],
        width=8,
    )


def _spread(title: str, text: str, unit: str, metric: str) -> Panel:
    return spread(
        title,
        f"{text} {_SINGLE}",
        unit,
        Prom(buckets(metric), "{{le}}", exemplars=True),
        links=[links.traces()],
        width=8,
    )


def _duration_spread() -> Panel:
    return _spread("How long calls take", "How many calls a second took how long.", SECONDS, _DURATION)


def _first_chunk_spread() -> Panel:
    return _spread(
        "When answers begin", "How many streams a second began to answer after how long.", SECONDS, _FIRST_CHUNK
    )


def _speed_spread() -> Panel:
    return _spread(
        "How fast tokens come", "How many streams a second had how many output tokens a second.", COUNT, _SPEED
    )
