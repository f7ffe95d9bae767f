"""Ledger: exact tables for what no label has, users, sessions and single calls, from the views of PostgreSQL.

Entries are told by when they ended (`end_ns`); sums by the hour, which stay when retention deletes entries, by when the
hour begins. What is chosen above goes into the queries as quoted texts, and a role that may only read asks them.

Source: grafana.com/docs/grafana v13.2, "PostgreSQL query editor", macros.
"""

from typing import Final

from grafana_foundation_sdk.models.dashboard import DashboardLink, Panel

from dashboards.boards import colors, links, variables
from dashboards.boards.boards import Board
from dashboards.boards.ledger_sql import (
    ALL_TOKENS,
    BUDGET_USD,
    COST_USD,
    DAY,
    DIMENSIONS,
    GROUP,
    KNOWN_TOKENS,
    MODEL,
    OF_DAYS,
    OF_ENTRIES,
    OF_HOURS,
    ROLLED_TOKENS,
    ROLLED_USD,
)
from dashboards.boards.looks import NO_TRAFFIC, Column
from dashboards.boards.panels import (
    COUNT,
    NONE_REPORTED,
    RATIO,
    SECONDS,
    USD,
    WHOLE,
    Row,
    lines,
    number,
    rows,
)
from dashboards.boards.targets import Sql

_CALLS: Final = Column(unit=WHOLE, decimals=0)
_MONEY: Final = Column(unit=USD, decimals=6)
_TOKENS: Final = Column(unit=COUNT)


def board() -> Board:
    """Return the dashboard."""
    titles = {
        "service": "Service",
        "environment": "Environment",
        "team": "Team",
        "project": "Project",
        "provider": "Provider",
        "model": "Model",
    }
    choices = [
        variables.column(name, title, f"SELECT DISTINCT {name} FROM spend_days WHERE {name} <> '' ORDER BY 1")
        for name, title in titles.items()
    ]
    return Board(
        name="ledger",
        title="Spanledger · Ledger",
        description="Exact figures from the ledger in PostgreSQL: by user, session and call, by any dimension, and of "
        "each period of a budget.",
        variables=[
            variables.postgresql(),
            variables.tempo(),
            *choices,
            variables.column(
                "budget",
                "Budget",
                "SELECT DISTINCT budget FROM budget_spend ORDER BY 1",
                f"for {links.PERIODS} alone; no view says which calls a budget holds",
            ),
            variables.text("user", "User", "a user's id; empty for all"),
            variables.text("session", "Session", "a session's id; empty for all"),
        ],
        alerts="",
        rows=[
            Row("All together", _totals()),
            Row(
                "Sums",
                [
                    _hours(),
                    _days(),
                    _by("team, project"),
                    _by("service, environment"),
                    _by("provider, model"),
                    _by("tenant, feature"),
                ],
            ),
            Row("Users and sessions", [_people("user_id", "user"), _people("session_id", "session")]),
            Row("Calls", [_calls(), _dear()]),
            Row("Budgets", [_budgets()]),
            Row("What is missing or strange", [_unknown(), _errors(), _again(), _estimates()]),
        ],
    )


def _here() -> list[DashboardLink]:
    return [links.board("overview", "Overview"), links.traces()]


def _totals() -> list[Panel]:
    def total(
        title: str, text: str, unit: str, value: str, *, decimals: int | None = 0, nothing: str = NO_TRAFFIC
    ) -> Panel:
        sql = Sql(f"SELECT {value} AS value\n{OF_ENTRIES}")
        return number(title, text, unit, sql, links=_here(), decimals=decimals, nothing=nothing)

    known = "count(*) FILTER (WHERE cost_pusd IS NOT NULL)"
    return [
        total(
            "Cost",
            "Cost of the calls that ended in the time that is shown and have a price.",
            USD,
            COST_USD,
            decimals=6,
        ),
        total("Calls", "Entries.", COUNT, "count(*)"),
        total(
            "Tokens",
            "Input and output, as reported.",
            COUNT,
            f"{ALL_TOKENS} {KNOWN_TOKENS}",
            nothing=NONE_REPORTED,
        ),
        total(
            "Cost for a call",
            "Of those that have a price.",
            USD,
            f"sum(cost_pusd) / 1e12 / nullif({known}, 0)",
            decimals=6,
        ),
        total("Cost unknown", "Calls that have no price.", COUNT, "count(*) FILTER (WHERE price_status = 'unpriced')"),
        total("Users", "Users that calls were made for, where services say it.", COUNT, "count(DISTINCT user_id)"),
    ]


def _hours() -> Panel:
    sql = (
        f"SELECT to_timestamp(hour_s) AS time, model AS metric, {ROLLED_USD} AS cost\n"
        f"{OF_HOURS}\nGROUP BY 1, 2\nORDER BY 1"
    )
    return lines(
        "Cost by the hour",
        "Of the hours that begin in the time that is shown, by model; users and sessions are not told apart here.",
        USD,
        Sql(sql, format="time_series"),
        axis="USD in the hour",
        links=_here(),
        stack=True,
    )


def _days() -> Panel:
    sql = (
        f"SELECT {DAY} AS day, sum(calls) AS calls, {ROLLED_USD} AS cost,\n"
        f"  {ROLLED_TOKENS}, sum(cache_read_tokens) {KNOWN_TOKENS} AS cached,\n"
        "  coalesce(sum(calls) FILTER (WHERE price_status = 'unpriced'), 0) AS unpriced\n"
        f"{OF_DAYS}\nGROUP BY 1\nORDER BY 1 DESC"
    )
    columns = {
        "day": Column(unit="string"),
        "calls": _CALLS,
        "cost": _MONEY,
        "input": _TOKENS,
        "output": _TOKENS,
        "cached": _TOKENS,
        "unpriced": _CALLS,
    }
    return rows(
        "Days",
        "Of the days, in UTC, that begin in the time that is shown.",
        Sql(sql),
        columns,
        links=_here(),
        width=12,
        height=8,
    )


def _by(names: str) -> Panel:
    first, second = names.split(", ")
    sql = (
        f"SELECT {names}, sum(calls) AS calls, {ROLLED_USD} AS cost,\n"
        f"  {ROLLED_TOKENS},\n"
        "  coalesce(sum(calls) FILTER (WHERE outcome = 'error'), 0) AS errors,\n"
        "  coalesce(sum(calls) FILTER (WHERE price_status = 'unpriced'), 0) AS unpriced\n"
        f"{OF_HOURS}\nGROUP BY {names}\nORDER BY cost DESC NULLS LAST\nLIMIT 500"
    )
    columns = {
        "calls": _CALLS,
        "cost": _MONEY,
        "input": _TOKENS,
        "output": _TOKENS,
        "errors": _CALLS,
        "unpriced": _CALLS,
    }
    named = [name for name in (first, second) if name in DIMENSIONS]
    return rows(
        f"By {first} and {second}",
        "Of the hours that begin in the time that is shown; the 500 that cost most.",
        Sql(sql),
        columns,
        links=[links.ledger(*named, column=True), links.traces(*named, column=True)] if named else _here(),
        width=12,
    )


def _people(column: str, name: str) -> Panel:
    sql = (
        f'SELECT {column} AS "{name}", count(*) AS calls, {COST_USD} AS cost,\n'
        "  sum(input_tokens) AS input, sum(output_tokens) AS output,\n"
        "  count(*) FILTER (WHERE outcome = 'error') AS errors,\n"
        "  count(*) FILTER (WHERE price_status = 'unpriced') AS unpriced,\n"
        "  to_timestamp(max(end_ns) / 1e9) AS last\n"
        f"{OF_ENTRIES}\n  AND {column} IS NOT NULL\nGROUP BY 1\nORDER BY cost DESC NULLS LAST\nLIMIT 500"
    )
    chosen = {name: links.cell(name)}
    columns = {
        "calls": _CALLS,
        "cost": _MONEY,
        "input": _TOKENS,
        "output": _TOKENS,
        "errors": _CALLS,
        "unpriced": _CALLS,
        "last": Column(unit="dateTimeFromNow"),
    }
    return rows(
        f"By {name}",
        f"The 500 {name}s that cost most in the time that is shown, where services say for which {name} they call.",
        Sql(sql),
        columns,
        links=[links.board("ledger", f"Calls of this {name}", **chosen)],
        width=12,
        nothing=f"no {name}s said",
    )


_OF_A_CALL: Final = (
    "SELECT to_timestamp(end_ns / 1e9) AS ended, entry_id AS entry, service, team, project, provider,\n"
    f'  {MODEL} AS model, operation, user_id AS "user", session_id AS session, outcome, error_type AS error,\n'
    "  input_tokens AS input, output_tokens AS output, cache_read_tokens AS cached,\n"
    "  cost_pusd / 1e12 AS cost, coalesce(price_reason, price_status) AS price,\n"
    "  (end_ns - start_ns) / 1e9 AS duration, response_id AS answer, encode(trace_id, 'hex') AS trace\n"
)
_CALL_COLUMNS: Final = {
    "ended": Column(unit="dateTimeAsIso"),
    "entry": Column(unit="none", decimals=0),
    "input": _TOKENS,
    "output": _TOKENS,
    "cached": _TOKENS,
    "cost": _MONEY,
    "duration": Column(unit=SECONDS),
    "trace": Column(unit="string", links=(links.trace("trace"),)),
}


def _calls() -> Panel:
    return rows(
        "Calls",
        "The 500 newest. `spanledger explain ENTRY` shows every factor of a price.",
        Sql(f"{_OF_A_CALL}{OF_ENTRIES}\nORDER BY end_ns DESC\nLIMIT 500"),
        _CALL_COLUMNS,
        links=[links.trace("trace")],
        height=12,
    )


def _dear() -> Panel:
    return rows(
        "The dearest calls",
        "The 100 that cost most in the time that is shown.",
        Sql(f"{_OF_A_CALL}{OF_ENTRIES}\n  AND cost_pusd IS NOT NULL\nORDER BY cost_pusd DESC\nLIMIT 100"),
        _CALL_COLUMNS,
        links=[links.trace("trace")],
    )


def _budgets() -> Panel:
    spent = f"CASE unit WHEN 'usd' THEN {BUDGET_USD} WHEN 'tokens' THEN tokens ELSE calls END"
    limit, leased = (f"{name} / CASE unit WHEN 'usd' THEN 1e6 ELSE 1 END" for name in ("limit_amount", "leased"))
    sql = (
        f'SELECT budget, {GROUP} AS "group", mode, to_timestamp(period_start_s) AS began, unit,\n'
        f'  {limit} AS "limit", {spent} AS spent, ({spent}) / nullif({limit}, 0) AS used,\n'
        f"  calls, tokens, {BUDGET_USD} AS cost, unpriced_calls AS unpriced, {leased} AS leased\n"
        "FROM budget_spend\n"
        f"WHERE ({variables.ALL_IN_SQL} IN (${{budget:sqlstring}}) OR budget IN (${{budget:sqlstring}}))\n"
        "ORDER BY period_start_s DESC, used DESC NULLS LAST\nLIMIT 1000"
    )
    columns = {
        "began": Column(unit="dateTimeAsIso"),
        "limit": _TOKENS,
        "spent": _TOKENS,
        "used": Column(unit=RATIO, decimals=1, steps=colors.USED),
        "calls": _CALLS,
        "tokens": _TOKENS,
        "cost": _MONEY,
        "unpriced": _CALLS,
        "leased": _TOKENS,
    }
    return rows(
        links.PERIODS,
        "What each budget and group has spent in each period, the newest first, whatever time is shown. A group is "
        "told by its values, in the order of what the budget is per. Limit and spend are in the budget's unit.",
        Sql(sql),
        columns,
        links=[links.board("budgets", "Budgets", budget=links.cell("budget"))],
        height=10,
        nothing="no budget",
    )


def _unknown() -> Panel:
    sql = (
        f"SELECT price_reason AS reason, provider, {MODEL} AS model, usage_status AS usage, count(*) AS calls,\n"
        f"  {ALL_TOKENS} {KNOWN_TOKENS} AS tokens, max(price_detail) AS detail\n"
        f"{OF_ENTRIES}\n  AND price_status = 'unpriced'\nGROUP BY 1, 2, 3, 4\nORDER BY calls DESC\nLIMIT 500"
    )
    return rows(
        "Calls whose cost is not known",
        "By the reason.",
        Sql(sql),
        {"calls": _CALLS, "tokens": Column(unit=COUNT, absent="unknown")},
        links=[links.ledger("provider", "model", column=True)],
        width=12,
        nothing="none",
    )


def _errors() -> Panel:
    sql = (
        f"SELECT provider, {MODEL} AS model, error_type AS error, http_status AS status, count(*) AS calls,\n"
        f"  count(*) FILTER (WHERE resend_count > 0) AS retries, {COST_USD} AS cost\n"
        f"{OF_ENTRIES}\n  AND outcome = 'error'\nGROUP BY 1, 2, 3, 4\nORDER BY calls DESC\nLIMIT 500"
    )
    return rows(
        "Calls that failed",
        "By the provider's word for it, and what they cost all the same.",
        Sql(sql),
        {"calls": _CALLS, "retries": _CALLS, "cost": _MONEY, "status": Column(unit="none", decimals=0)},
        links=[
            links.ledger("provider", "model", column=True),
            links.traces("provider", "model", column=True, failed=True),
        ],
        width=12,
        nothing="none",
    )


def _again() -> Panel:
    earliest = "(array_agg(cost_pusd ORDER BY end_ns, entry_id) FILTER (WHERE cost_pusd IS NOT NULL))[1]"
    sql = (
        f"SELECT service, {MODEL} AS model, count(*) AS calls, {COST_USD} AS cost,\n"
        f"  (sum(cost_pusd) - {earliest}) / 1e12 AS again,\n"
        "  to_timestamp(max(end_ns) / 1e9) AS last, request_hash AS request\n"
        f"{OF_ENTRIES}\n  AND request_hash IS NOT NULL\nGROUP BY service, 2, request_hash\nHAVING count(*) > 1\n"
        "ORDER BY again DESC NULLS LAST\nLIMIT 200"
    )
    return rows(
        "The same request again",
        "Requests that were sent more than once in the time that is shown, told by a keyed hash. `again` is what all "
        "but the earliest cost, of those calls whose cost is known.",
        Sql(sql),
        {"calls": _CALLS, "cost": _MONEY, "again": _MONEY, "last": Column(unit="dateTimeFromNow")},
        links=[links.ledger("service", "model", column=True)],
        width=12,
        nothing="none",
    )


def _estimates() -> Panel:
    sql = (
        f"SELECT service, provider, {MODEL} AS model, count(*) AS calls,\n"
        "  sum((other_usage::json ->> 'estimated_input_tokens')::numeric) AS input,\n"
        "  sum((other_usage::json ->> 'estimated_output_tokens')::numeric) AS output\n"
        f"{OF_ENTRIES}\n  AND other_usage LIKE '%estimated_%'\nGROUP BY 1, 2, 3\nORDER BY calls DESC\nLIMIT 200"
    )
    return rows(
        "Estimates",
        "Tokens that the sender estimated because they were not reported. They are in no sum and no price.",
        Sql(sql),
        {"calls": _CALLS, "input": _TOKENS, "output": _TOKENS},
        links=[links.ledger("service", "provider", "model", column=True)],
        width=12,
        nothing="none",
    )
