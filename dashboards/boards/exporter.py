"""Exporter health: whether what is sent is taken, how long commits take, and whether the work beside them is done."""

from grafana_foundation_sdk.models.dashboard import DashboardLink, Panel

from dashboards.boards import collector, colors, links, variables
from dashboards.boards.boards import Board
from dashboards.boards.looks import Column
from dashboards.boards.panels import BYTES, COUNT, RATIO, SECONDS, WHOLE, Row, grid, lines, number
from dashboards.boards.queries import RANGE, counted, quantile, selector, share
from dashboards.boards.targets import Prom

_NOTHING = "no exporter"
_EACH = selector("instance")
_ANSWERS = {
    "ok": colors.BLUE,
    "partial": colors.YELLOW,
    "rejected": colors.ORANGE,
    "denied": colors.PURPLE,
    "unavailable": colors.VERMILION,
    "too_large": colors.GREEN,
    "ignored": colors.GREY,
}
_RESULTS = {
    "accepted": colors.BLUE,
    "folded": colors.SKY,
    "duplicate": colors.GREEN,
    "ignored": colors.GREY,
    "rejected": colors.VERMILION,
}
_DEAD = {"malformed_span": colors.ORANGE, "poison": colors.VERMILION, "too_old": colors.BLUE, "future": colors.SKY}


def board() -> Board:
    """Return the dashboard."""
    return Board(
        name="exporter",
        title="Spanledger · Exporter health",
        description="Whether what is sent is taken, how long commits and scrapes take, and what goes on beside them.",
        variables=[variables.datasource(), variables.tempo(), variables.label("instance")],
        since="now-6h",
        rows=_with_their_queries(
            Row("Now", _now()),
            Row("Way in", [_requests(), _spans(), _waiting(), _queue()]),
            Row("Commits", [_commits(), _rows(), _since_commit(), _scrapes()]),
            Row(
                "Beside",
                [
                    _maintenance(),
                    _messages(),
                    _evaluation(),
                    _leases(),
                    _letters(),
                    _reloads(),
                    _folded(),
                    _dropped(),
                    _expired(),
                    _ledger(),
                ],
            ),
            Row("Collector", collector.panels(_here())),
            Row("Replicas", [_replicas()]),
        ),
    )


def _with_their_queries(*rows: Row) -> list[Row]:
    """Let each panel lead to its own queries, too: behind what an exporter says of itself are no calls."""
    for panel in (panel for row in rows for panel in row.panels):
        fields = panel.field_config and panel.field_config.defaults
        assert fields
        assert fields.links
        fields.links = [links.asked(panel), *fields.links]
    return list(rows)


def _here() -> list[DashboardLink]:
    return [links.board("quality", "Data quality", service="$__all")]


def _now() -> list[Panel]:
    def requests(answers: str) -> str:
        return counted("spanledger_requests_total", extra=answers, window=RANGE, function="increase")

    unwell, asked = requests('answer=~"unavailable|rejected|denied|too_large|partial"'), requests('answer!="ignored"')
    return [
        number(
            "Replicas",
            "Exporters that answer Prometheus.",
            COUNT,
            Prom(f"count(spanledger_build_info{_EACH})", instant=True),
            links=_here(),
            nothing="none answers",
            steps=((None, colors.VERMILION), (1, colors.BLUE)),
        ),
        number(
            "Not taken",
            "Share of the requests that were not taken, or not whole, or only later.",
            RATIO,
            Prom(share(unwell, asked), instant=True),
            links=_here(),
            steps=colors.FEW,
        ),
        number(
            "Entries a second",
            "Calls that became entries, a second.",
            COUNT,
            Prom(counted("spanledger_spans_total", extra='result="accepted"', window=RANGE), instant=True),
            links=_here(),
            nothing=_NOTHING,
        ),
        number(
            "Commit, p99",
            "99 % of the transactions take no longer.",
            SECONDS,
            Prom(quantile(0.99, "spanledger_commit_duration_seconds", window=RANGE, names=("instance",)), instant=True),
            links=_here(),
        ),
        number(
            "Last commit",
            "Of whichever replica committed last.",
            "dateTimeFromNow",
            Prom(f"1000 * (max(spanledger_last_commit_timestamp_seconds{_EACH}) > 0)", instant=True),
            links=_here(),
            nothing="none yet",
        ),
        number(
            "Waiting",
            "Requests that are accepted and not committed yet, by all replicas.",
            COUNT,
            Prom(f"sum(spanledger_queue_requests{_EACH})", instant=True),
            links=_here(),
            nothing=_NOTHING,
        ),
    ]


def _rates(
    title: str, text: str, axis: str, metric: str, by: str, by_name: dict[str, str] | None = None, width: int = 12
) -> Panel:
    legend = " ".join(f"{{{{{name}}}}}" for name in by.split(", ")) if by else title
    return lines(
        title,
        text,
        COUNT,
        Prom(counted(metric, by), legend),
        axis=axis,
        links=_here(),
        stack=True,
        by_name=by_name,
        nothing=_NOTHING,
        width=width,
    )


def _each(title: str, text: str, unit: str, expr: str, *, width: int = 12) -> Panel:
    return lines(title, text, unit, Prom(expr, "{{instance}}"), links=_here(), nothing=_NOTHING, width=width)


def _requests() -> Panel:
    return _rates(
        "Requests",
        "OTLP requests a second, by how they were answered. `unavailable` is to be sent again, `rejected`, `denied` "
        "and `too_large` are lost.",
        "requests a second",
        "spanledger_requests_total",
        "answer",
        _ANSWERS,
    )


def _spans() -> Panel:
    return _rates(
        "Spans",
        "A second, by what became of them. `ignored` are no calls to a model.",
        "spans a second",
        "spanledger_spans_total",
        "result",
        _RESULTS,
    )


def _waiting() -> Panel:
    return _each(
        "Bytes that wait",
        "Requests that are accepted and not committed yet. It stays near zero.",
        BYTES,
        f"spanledger_in_flight_bytes{_EACH}",
    )


def _queue() -> Panel:
    return _each("Requests that wait", "For their commit, or in one.", COUNT, f"spanledger_queue_requests{_EACH}")


def _quantiles(title: str, text: str, unit: str, metric: str) -> Panel:
    half, most = (
        Prom(quantile(part, metric, names=("instance",)), name) for part, name in ((0.5, "p50"), (0.99, "p99"))
    )
    return lines(title, text, unit, half, most, links=_here(), by_name={"p50": colors.BLUE, "p99": colors.ORANGE})


def _commits() -> Panel:
    return _quantiles(
        "Time of a commit",
        "From the begin of a transaction to its end.",
        SECONDS,
        "spanledger_commit_duration_seconds",
    )


def _rows() -> Panel:
    return _quantiles(
        "Reports in a commit", "How many reports of calls one transaction took.", COUNT, "spanledger_commit_rows"
    )


def _since_commit() -> Panel:
    return _each(
        "Since the last commit",
        "It grows where nothing is sent, and where nothing can be committed.",
        SECONDS,
        f"time() - (spanledger_last_commit_timestamp_seconds{_EACH} > 0)",
    )


def _scrapes() -> Panel:
    return _quantiles(
        "Time of a scrape",
        "To make the page of metrics, without the way to Prometheus.",
        SECONDS,
        "spanledger_scrape_duration_seconds",
    )


def _maintenance() -> Panel:
    expr = counted("spanledger_maintenance_runs_total", "task", 'result="failed"', window="1h", function="increase")
    return lines(
        "Maintenance that failed",
        "Runs within an hour, by task.",
        COUNT,
        Prom(expr, "{{task}}"),
        axis="runs in the last hour",
        links=_here(),
        nothing=_NOTHING,
        width=8,
    )


def _messages() -> Panel:
    return _rates(
        "Messages about budgets",
        "Attempts a second, each to one channel; `abandoned` were given up.",
        "attempts a second",
        "spanledger_notifications_total",
        "result",
        {"delivered": colors.BLUE, "failed": colors.ORANGE, "abandoned": colors.VERMILION},
        width=8,
    )


def _evaluation() -> Panel:
    return _each(
        "Evaluation of budgets",
        "How long it takes to work out how the budgets stand.",
        SECONDS,
        f"spanledger_budget_evaluation_duration_seconds{_EACH}",
        width=8,
    )


def _leases() -> Panel:
    return _rates(
        "Requests for leases",
        "A second, by how they were answered.",
        "requests a second",
        "spanledger_lease_requests_total",
        "answer",
        _ANSWERS,
        width=8,
    )


def _letters() -> Panel:
    metric = "spanledger_dead_letters_total"
    return _rates("Dead letters", "By the reason.", "spans a second", metric, "reason", _DEAD, width=8)


def _reloads() -> Panel:
    expr = counted("spanledger_reload_failures_total", "files", window="1h", function="increase")
    failed = counted("spanledger_budget_evaluation_failures_total", window="1h", function="increase")
    return lines(
        "Files and evaluations that failed",
        "Within an hour: changes of files that cannot be used, evaluations of budgets.",
        COUNT,
        Prom(expr, "{{files}}"),
        Prom(failed, "evaluation"),
        axis="in the last hour",
        links=_here(),
        nothing=_NOTHING,
        width=8,
    )


def _folded() -> Panel:
    return lines(
        "Folded into __other__",
        "A second: calls in the ledger's sums, and sums of budgets.",
        COUNT,
        Prom(counted("spanledger_folded_calls_total"), "calls"),
        Prom(counted("spanledger_budget_groups_folded_total"), "sums of budgets"),
        axis="calls or sums a second",
        links=_here(),
        nothing=_NOTHING,
        width=8,
    )


def _dropped() -> Panel:
    series = counted("spanledger_folded_series_total", "instance, metric", window="1h", function="increase")
    letters, calls, limits = (
        counted(f"spanledger_{name}_total", window="1h", function="increase")
        for name in ("dead_letters_dropped", "folded_observations", "rate_limits_unshown")
    )
    return lines(
        "Beyond a limit",
        "Within an hour: label sets of a metric, and calls in histograms, that are summed under `__other__`; dead "
        "letters that gave way; rate limits that are not shown.",
        COUNT,
        Prom(f"max by (metric) ({series})", "series of {{metric}}"),
        Prom(letters, "dead letters"),
        Prom(calls, "calls in histograms"),
        Prom(limits, "rate limits"),
        axis="in the last hour",
        links=_here(),
        nothing=_NOTHING,
        width=8,
    )


def _expired() -> Panel:
    expr = counted("spanledger_expired_entries_total", window="1h", function="increase")
    return lines(
        "Deleted by retention",
        "Entries within an hour; their sums stay.",
        COUNT,
        Prom(expr, "entries"),
        axis="entries in the last hour",
        links=_here(),
        nothing=_NOTHING,
        width=8,
    )


def _ledger() -> Panel:
    wal = f"spanledger_wal_bytes{_EACH}"
    return _each("Write-ahead log", "Of a ledger on SQLite; 0 on PostgreSQL.", BYTES, wal, width=8)


def _replicas() -> Panel:
    def gauge(metric: str, by: str = "instance") -> str:
        return f"max by ({by}) ({metric}{_EACH})"

    def rose(metric: str) -> str:
        return counted(metric, "instance", window=RANGE, function="increase")

    columns = {
        "up": (gauge("spanledger_build_info", "instance, version"), Column(unit=WHOLE, decimals=0)),
        "waiting": (gauge("spanledger_queue_requests"), Column(unit=WHOLE, decimals=0)),
        "bytes that wait": (gauge("spanledger_in_flight_bytes"), Column(unit=BYTES)),
        "last commit": (
            f"1000 * (max by (instance) (spanledger_last_commit_timestamp_seconds{_EACH}) > 0)",
            Column(unit="dateTimeFromNow"),
        ),
        "budgets evaluated": (
            f"1000 * (max by (instance) (spanledger_budget_last_evaluation_timestamp_seconds{_EACH}) > 0)",
            Column(unit="dateTimeFromNow"),
        ),
        "month read": (
            f"1000 * (max by (instance) (spanledger_month_timestamp_seconds{_EACH}) > 0)",
            Column(unit="dateTimeFromNow"),
        ),
        "calls forgotten by the window": (rose("spanledger_window_forgotten_calls_total"), Column(unit=COUNT)),
        "price plans forgotten": (rose("spanledger_forgotten_price_plans_total"), Column(unit=COUNT)),
        "budget groups not shown": (gauge("spanledger_budget_unshown_states"), Column(unit=WHOLE, decimals=0)),
    }
    return grid(
        "Replicas",
        "Each exporter by itself.",
        ("instance", "version"),
        columns,
        links=_here(),
        nothing=_NOTHING,
        height=7,
    )
