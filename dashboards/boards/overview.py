"""Overview: what is spent now, whether calls succeed, and whether anything is wrong. For whoever is on call."""

from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.boards import colors, links, variables
from dashboards.boards.boards import Board
from dashboards.boards.looks import Column
from dashboards.boards.panels import (
    COUNT,
    NONE_REPORTED,
    RATIO,
    SECONDS,
    USD,
    Row,
    bars,
    grid,
    lines,
    number,
)
from dashboards.boards.queries import (
    ALERTS,
    FORECASTS,
    RANGE,
    at_their_limit,
    highest,
    hourly,
    month_forecast,
    now,
    or_none,
    quantile,
    rate,
    rise,
    share,
    tokens,
)
from dashboards.boards.targets import Prom

_CALLS = rise("genai_calls_total")
_OF_A_RATIO = "A share of no calls is no number."


def board() -> Board:
    """Return the dashboard."""
    return Board(
        name="overview",
        title="Spanledger · Overview",
        description="What calls cost now, whether they succeed, and whether budgets or Spanledger are in trouble.",
        variables=variables.for_spend(),
        since="now-6h",
        rows=[
            Row("Now", [*_money(), *_calls()]),
            Row("Spend", [_by("model"), _by("service"), _tokens(), _outcomes()]),
            Row("Speed", [_duration(), _first_chunk()]),
            Row("Trouble", [_errors(), _budgets(), _alerts()]),
        ],
    )


def _money() -> list[Panel]:
    return [
        number(
            "Cost",
            "Cost of the calls in the time that is shown; of an unpriced call the cost is not in it.",
            USD,
            Prom(rise("genai_cost_usd_total"), instant=True),
            links=[links.board("spend", "Cost and attribution")],
        ),
        number(
            "Month to date",
            "Cost of this month so far, in UTC, as the ledger has it, whatever time is shown.",
            USD,
            Prom(now("genai_month_to_date_cost_usd"), instant=True),
            links=[links.board("spend", "Cost and attribution")],
        ),
        number(
            "Month forecast",
            "What this month is likely to come to: the quantiles 0.1, 0.5 and 0.9, so that in eight cases of ten it "
            "ends between the low and the high one. All spend together, whatever is chosen above.",
            USD,
            *(Prom(month_forecast(name), name, instant=True) for name in FORECASTS),
            links=[links.board("spend", "Cost and attribution")],
            width=8,
            nothing="nothing spent yet",
        ),
        number(
            "Budgets at their limit",
            "Budgets that have used all of their limit or more, or of which a group has. All budgets, whatever is "
            "chosen above; of one per user, session or key it is known where 100 is one of its thresholds.",
            COUNT,
            Prom(at_their_limit(), instant=True),
            links=[links.board("budgets", "Budgets", budget="$__all")],
            steps=colors.NONE_IS_WELL,
            nothing="no budget",
            words={"-1": "not known"},
        ),
        number(
            "Alerts that fire",
            "Of Spanledger's rules. 0 also where Prometheus has not loaded them.",
            COUNT,
            Prom(f'count(ALERTS{{alertname=~"{ALERTS}",alertstate="firing"}}) or vector(0)', instant=True),
            links=[links.link("Alerts", "/alerting/list")],
            steps=colors.NONE_IS_WELL,
        ),
    ]


def _calls() -> list[Panel]:
    unpriced = or_none(rise("genai_unpriced_calls_total"), _CALLS)
    errors = or_none(rise("genai_calls_total", extra='outcome="error"'), _CALLS)
    return [
        number(
            "Calls",
            "Calls to providers in the time that is shown, attempts of SDKs to try again included.",
            COUNT,
            Prom(_CALLS, instant=True),
            links=[links.traces()],
        ),
        number(
            "Calls that fail",
            f"Share of the calls that ended in an error. {_OF_A_RATIO}",
            RATIO,
            Prom(share(errors, _CALLS), instant=True),
            links=[links.traces(failed=True), links.board("providers", "Providers")],
            steps=colors.FEW,
        ),
        number(
            "Cost unknown",
            f"Share of the calls that have no price, or no usage to be priced. {_OF_A_RATIO}",
            RATIO,
            Prom(share(unpriced, _CALLS), instant=True),
            links=[links.board("quality", "Data quality")],
            steps=colors.FEW,
        ),
        number(
            "First chunk, p95",
            "95 % of the streams begin to answer within this time. By provider and model only.",
            SECONDS,
            Prom(quantile(0.95, "genai_time_to_first_chunk_seconds", window=RANGE), instant=True),
            links=[links.board("providers", "Providers")],
        ),
        number(
            "Exporters",
            "Replicas of the exporter that answer Prometheus.",
            COUNT,
            Prom("count(spanledger_build_info)", instant=True),
            links=[links.board("exporter", "Exporter health")],
            nothing="none answers",
            steps=((None, colors.VERMILION), (1, colors.BLUE)),
        ),
        number(
            "Cost for a call",
            "Mean cost of the calls that have a price, or none to have.",
            USD,
            Prom(share(rise("genai_cost_usd_total"), f"({_CALLS} - {unpriced})"), instant=True),
            links=[links.board("models", "Models")],
            decimals=6,
        ),
    ]


def _by(name: str) -> Panel:
    return lines(
        f"Cost by {name}",
        "USD an hour, at the pace of each moment.",
        USD,
        Prom(hourly("genai_cost_usd_total", name), f"{{{{{name}}}}}"),
        axis="USD an hour",
        links=[links.traces(name), links.ledger(name)],
        stack=True,
    )


def _tokens() -> Panel:
    return lines(
        "Tokens",
        "Tokens a second; the types are disjoint and add up to all.",
        "short",
        Prom(tokens("rate", "token_type"), "{{token_type}}"),
        nothing=NONE_REPORTED,
        axis="tokens a second",
        links=[links.board("models", "Models")],
        stack=True,
        by_name=colors.TOKEN_TYPES,
    )


def _outcomes() -> Panel:
    return lines(
        "Calls",
        "Calls a second, by how they ended.",
        COUNT,
        Prom(rate("genai_calls_total", "outcome"), "{{outcome}}"),
        axis="calls a second",
        links=[links.board("providers", "Providers"), links.traces()],
        stack=True,
        by_name=colors.OUTCOMES,
    )


def _duration() -> Panel:
    metric = "genai_call_duration_seconds"
    return lines(
        "Duration of calls",
        "From a call's start to its end; of streams, to their last chunk. Dots are single calls, "
        "and lead to their traces. By provider and model only.",
        SECONDS,
        Prom(quantile(0.5, metric), "p50", exemplars=True),
        Prom(quantile(0.95, metric), "p95", exemplars=True),
        links=[links.traces()],
    )


def _first_chunk() -> Panel:
    metric = "genai_time_to_first_chunk_seconds"
    return lines(
        "Time to first chunk",
        "From a streaming call's start to the first chunk of its answer. Dots are single calls, "
        "and lead to their traces. By provider and model only.",
        SECONDS,
        Prom(quantile(0.5, metric), "p50", exemplars=True),
        Prom(quantile(0.95, metric), "p95", exemplars=True),
        links=[links.traces()],
    )


def _errors() -> Panel:
    return lines(
        "Errors",
        "Calls a second that ended in an error, by the provider's word for it, else the exception's name or "
        "the HTTP status.",
        COUNT,
        Prom(rate("genai_call_errors_total", "error_type"), "{{error_type}}"),
        axis="calls a second",
        links=[links.traces("error_type", failed=True)],
        stack=True,
        nothing="no errors",
    )


def _budgets() -> Panel:
    used = highest("genai_budget_used_ratio", "budget, group")
    return bars(
        "Budgets, the most used",
        "Share of the limit that is spent in the period, of the ten that are closest to it. All "
        "budgets, whatever is chosen above; of those per user, session or key no group has a name here.",
        RATIO,
        Prom(f"topk(10, {used})", "{{budget}} {{group}}", instant=True),
        links=[links.board("budgets", "Budgets", budget=links.field("budget")), links.periods(links.field("budget"))],
        steps=colors.USED,
        high=1,
        nothing="none shown",
    )


def _alerts() -> Panel:
    expr = f'max by (alertname, severity, alertstate, budget, group) (ALERTS{{alertname=~"{ALERTS}"}})'
    return grid(
        "Alerts",
        "What Spanledger's rules have found, and what they are about to.",
        ("alertname", "severity", "alertstate", "budget", "group"),
        {"active": (expr, Column(unit=COUNT))},
        links=[links.link("Alerts", "/alerting/list")],
        nothing="no alerts",
    )
