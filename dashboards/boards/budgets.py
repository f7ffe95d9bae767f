"""Budgets: how much of each is used, how fast, when it runs out, what was refused, and what alerts there were."""

from grafana_foundation_sdk.models.dashboard import DashboardLink, Panel

from dashboards.boards import colors, links, variables
from dashboards.boards.boards import Board
from dashboards.boards.looks import Column
from dashboards.boards.panels import (
    COUNT,
    RATIO,
    SECONDS,
    USD,
    WHOLE,
    Row,
    bars,
    grid,
    lines,
    number,
    states,
)
from dashboards.boards.queries import (
    FORECASTS,
    RANGE,
    RATE,
    at_their_limit,
    budget_forecast,
    budgets,
    highest,
    lowest,
    or_none,
    selector,
)
from dashboards.boards.targets import Prom

_KEYS = ("budget", "group")
_BY = "budget, group"
_NONE, _NONE_SHOWN = "no budget", "none shown"
"""Of a budget per user, session or key no group has a name here: there may be budgets, and nothing to show of them."""
_NAMED = selector("budget")
_TIME = "dateTimeFromNow"


def board() -> Board:
    """Return the dashboard."""
    return Board(
        name="budgets",
        title="Spanledger · Budgets",
        description="How budgets stand, how fast they are used and when they run out, as the ledger says.",
        variables=[variables.datasource(), variables.tempo(), variables.label("budget")],
        since="now-7d",
        alerts="SpanledgerBudget.*|GenAI.*",
        rows=[
            Row("Now", _now()),
            Row(
                "Progress",
                [
                    _progress(),
                    _groups(),
                    _standing(),
                    _amounts("usd", USD),
                    _amounts("tokens", COUNT),
                    _amounts("calls", COUNT),
                ],
            ),
            Row(
                "Pace and forecast",
                [
                    _used(),
                    _burn(),
                    _forecast(),
                    _pace("usd", USD),
                    _pace("tokens", COUNT),
                    _pace("calls", COUNT),
                    _left(),
                    _anomaly(),
                ],
            ),
            Row("Enforcement", [_decisions(), _leased()]),
            Row("Alerts", [_alerts()]),
        ],
    )


def _gauge(metric: str) -> str:
    return highest(metric, _BY, _NAMED)


def _run_out() -> str:
    """Return when budgets run out; of a period that is over no replica says it any more."""
    ends = f"genai_budget_period_end_timestamp_seconds{_NAMED} > time()"
    metric = "genai_budget_run_out_timestamp_seconds"
    return lowest(metric, _BY, f"{_NAMED} and on (job, instance, {_BY}) {ends}")


def _unpriced() -> str:
    """Return how many calls have no price, of budgets in USD: in others it does not matter."""
    return f"{_gauge('genai_budget_unpriced_calls')} and {_gauge('genai_budget_limit_usd')}"


def _detail() -> list[DashboardLink]:
    return [links.periods(links.field("budget"))]


def _now() -> list[Panel]:
    likely = budget_forecast("likely", "budget")
    decided = "genai_budget_decisions_total" + selector("budget", extra='decision=~"refused|closed"')
    refused = f"sum(increase({decided}[{RANGE}]))"
    evaluated = "max(spanledger_budget_last_evaluation_timestamp_seconds)"
    return [
        number(
            "Budgets",
            "Budgets that are shown; one that has groups is one.",
            COUNT,
            Prom(f"count({budgets('budget')})", instant=True),
            links=[links.periods()],
            nothing=_NONE,
        ),
        number(
            "At their limit",
            "Budgets that have used all of their limit or more, or of which a group has. Of one per user, session or "
            "key it is known where 100 is one of its thresholds.",
            COUNT,
            Prom(at_their_limit("budget"), instant=True),
            links=[links.periods()],
            steps=colors.NONE_IS_WELL,
            nothing=_NONE,
            words={"-1": "not known"},
        ),
        number(
            "Likely to exceed it",
            "Budgets whose forecast for the end of the period is above the limit, at even odds, or of which a group's "
            "is. Of one per user, session or key there is no forecast here.",
            COUNT,
            Prom(f"sum({likely} > bool 1) or -1 * max({budgets('budget')})", instant=True),
            links=[links.periods()],
            steps=colors.NONE_IS_WELL,
            nothing=_NONE,
            words={"-1": "no forecast"},
        ),
        number(
            "Refused calls",
            "Calls that hard budgets did not let services send, in the time that is shown.",
            COUNT,
            Prom(refused, instant=True),
            links=[links.traces(variables=())],
            decimals=0,
            nothing="nothing decided",
        ),
        number(
            "Cost unknown",
            "Calls under budgets in USD, of the periods that run, whose price is not known: their cost is not in what "
            "was spent, unless they count at a default rate. A call counts once for each budget and group that holds "
            "it; of budgets per user, session or key none does.",
            COUNT,
            Prom(f"sum({_unpriced()})", instant=True),
            links=[links.board("quality", "Data quality", service="$__all")],
            steps=colors.NONE_IS_WELL,
            nothing="none in USD",
        ),
        number(
            "Evaluated",
            "When an exporter last worked out how the budgets stand. What is shown here is as of then.",
            _TIME,
            Prom(f"1000 * ({evaluated} > 0)", instant=True),
            links=[links.board("exporter", "Exporter health", instance="$__all")],
            nothing="never",
        ),
    ]


def _progress() -> Panel:
    return bars(
        "Progress",
        "Share of the limit that is spent in the period that runs. It is yellow from 75 %, orange from 90 %, "
        "vermilion at the limit.",
        RATIO,
        Prom(f"sort_desc({_gauge('genai_budget_used_ratio')})", "{{budget}} {{group}}", instant=True),
        links=_detail(),
        steps=colors.USED,
        high=1,
        nothing=_NONE_SHOWN,
        height=14,
    )


def _groups() -> Panel:
    columns = {"groups": (highest("genai_budget_groups", "budget, at_least", _NAMED), Column(unit=WHOLE, decimals=0))}
    return grid(
        "Groups by what they have used",
        "How many groups of a budget have used so many percent of their limit or more. Of "
        "budgets per user, session or API key nothing else is shown.",
        ("budget", "at_least"),
        columns,
        links=[links.periods(links.cell("budget"))],
        nothing="no groups",
        width=12,
        height=14,
        numbers={"at_least": ("used at least", Column(unit="percent", decimals=0))},
        sort=("budget", "used at least"),
    )


def _standing() -> Panel:
    # One mode of each, also while a replica that has not looked at its budgets for a while still says the one before.
    mode = f"topk by (budget) (1, {highest('genai_budget_mode_info', 'budget, mode', _NAMED)})"
    used = f"{_gauge('genai_budget_used_ratio')} * on (budget) group_left (mode) {mode}"
    columns = {
        "used": (used, Column(unit=RATIO, decimals=1, steps=colors.USED)),
        "forecast, low": (budget_forecast("low", _BY), Column(unit=RATIO, decimals=1)),
        "forecast, likely": (budget_forecast("likely", _BY), Column(unit=RATIO, decimals=1, steps=colors.USED)),
        "forecast, high": (budget_forecast("high", _BY), Column(unit=RATIO, decimals=1)),
        "runs out": (f"1000 * {_run_out()}", Column(unit=_TIME)),
        "period began": (
            f"1000 * {_gauge('genai_budget_period_start_timestamp_seconds')}",
            Column(unit=_TIME),
        ),
        "period ends": (f"1000 * {_gauge('genai_budget_period_end_timestamp_seconds')}", Column(unit=_TIME)),
        "cost unknown": (
            _unpriced(),
            Column(unit=WHOLE, decimals=0, steps=colors.NONE_IS_WELL),
        ),
        "anomaly": (_gauge("genai_budget_anomaly_score"), Column(unit=COUNT, decimals=2)),
    }
    return grid(
        "How they stand",
        "Forecasts are for the end of the period: the quantiles 0.1 (low), 0.5 (likely) and 0.9 (high). A budget that "
        "does not run out before the period ends has no time for that. To one in tokens or calls it does not matter "
        "whether the cost of calls is known.",
        ("budget", "group", "mode"),
        columns,
        links=[links.periods(links.cell("budget"))],
        nothing=_NONE_SHOWN,
        sort="used",
    )


def _amounts(unit: str, shown: str) -> Panel:
    columns = {
        name: (ask(f"genai_budget_{name}_{unit}", _BY, _NAMED), Column(unit=shown))
        for name, ask in (("limit", highest), ("spent", highest), ("leased", highest), ("remaining", lowest))
    }
    name = {"usd": "USD", "tokens": "tokens", "calls": "calls"}[unit]
    return grid(
        f"Budgets in {name}",
        "The limit with what was rolled over; what was spent; what services may spend without asking "
        "again; and what is neither, which is negative where too much was spent.",
        _KEYS,
        columns,
        links=[links.periods(links.cell("budget"))],
        width=8,
        nothing=_NONE_SHOWN,
        sort="spent",
    )


def _used() -> Panel:
    return lines(
        "Used",
        "Share of the limit that is spent; it falls where a new period begins.",
        RATIO,
        Prom(_gauge("genai_budget_used_ratio"), "{{budget}} {{group}}"),
        links=_detail(),
        steps=colors.USED,
        nothing=_NONE_SHOWN,
    )


def _burn() -> Panel:
    expr = "budget_group:genai_budget_burn:rate1h" + _NAMED
    return lines(
        "Burn",
        "How fast the limit is used, over an hour: at 1 it lasts for just the period, at 2 for half of it. Recorded by "
        "Spanledger's rules.",
        "none",
        Prom(expr, "{{budget}} {{group}}"),
        axis="times an even pace",
        links=_detail(),
        nothing="no rules, or none shown",
    )


def _forecast() -> Panel:
    return lines(
        "Forecast for the end of the period",
        "Share of the limit: the quantiles 0.1 (low), 0.5 (likely) and 0.9 (high).",
        RATIO,
        *(Prom(budget_forecast(name, _BY), f"{{{{budget}}}} {{{{group}}}} {name}") for name in FORECASTS),
        links=_detail(),
        steps=colors.USED,
        nothing="nothing spent yet",
    )


def _pace(unit: str, shown: str) -> Panel:
    name = {"usd": "USD", "tokens": "tokens", "calls": "calls"}[unit]
    rate = f"rate(genai_budget_spend_{unit}_total{_NAMED}[{RATE}])"
    return lines(
        f"Spend in {name}",
        f"An hour, at the pace of each moment, of budgets in {name}.",
        shown,
        Prom(f"3600 * max by ({_BY}) ({rate})", "{{budget}} {{group}}"),
        axis=f"{name} an hour",
        links=_detail(),
        nothing=_NONE_SHOWN,
        width=8,
    )


def _left() -> Panel:
    expr = f"{_run_out()} - time() > 0"
    return lines(
        "Time until it runs out",
        "Of those that are likely to before their period ends.",
        SECONDS,
        Prom(expr, "{{budget}} {{group}}"),
        links=_detail(),
        nothing="none runs out",
    )


def _anomaly() -> Panel:
    return lines(
        "Anomalies",
        "How unlike its weekday each day is; 1 and more is anomalous. A budget has none in its first week.",
        "none",
        Prom(_gauge("genai_budget_anomaly_score"), "{{budget}} {{group}}"),
        links=_detail(),
        nothing="not known yet",
        steps=((None, colors.BLUE), (1, colors.VERMILION)),
    )


def _decisions() -> Panel:
    expr = f"sum by (decision) (rate(genai_budget_decisions_total{_NAMED}[{RATE}]))"
    return lines(
        "Decisions",
        "What services decided of calls under hard budgets, a second. `over_bound` came to more than was thought "
        "possible.",
        COUNT,
        Prom(expr, "{{decision}}"),
        axis="decisions a second",
        links=[links.traces(variables=())],
        stack=True,
        by_name=colors.DECISIONS,
        nothing="nothing decided",
    )


def _leased() -> Panel:
    return lines(
        "Held by nobody known",
        "Share of the limit that is held by leases of which nobody has told any more.",
        RATIO,
        Prom(_gauge("genai_budget_unaccounted_ratio"), "{{budget}} {{group}}"),
        links=_detail(),
        nothing=_NONE_SHOWN,
    )


def _alerts() -> Panel:
    def firing(more: str = "") -> str:
        named = f'alertname=~"SpanledgerBudget.*|GenAI.*",alertstate="firing",budget=~"$budget"{more}'
        return f"max by (alertname, budget, group, threshold) (ALERTS{{{named}}})"

    severe = or_none(firing(',severity="critical"'), firing())
    expr = f"{firing()} + {severe}"
    legend = "{{alertname}} {{budget}} {{group}} {{threshold}}"
    return states(
        "Alerts",
        "Since when, and until when, alerts of the budgets fired.",
        Prom(expr, legend),
        links=_detail(),
        words={"1": "warning", "2": "critical"},
        nothing="no alerts",
    )
