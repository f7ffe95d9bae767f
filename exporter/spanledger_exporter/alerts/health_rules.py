"""The rules that watch Spanledger itself: budgets' data, their enforcement, the way in, the ledger, the collector.

Of what the database says, each replica of the exporter says the same, and the largest is taken; of what each counts for
itself, the sum.
"""

from typing import Final

from spanledger_exporter.alerts.rules import BUDGET, Alert, Group, Recording, expression
from spanledger_exporter.alerts.spend_rules import born_or_rising

STALE_S: Final = 300
PRICES_OLD_DAYS: Final = 45
_Rules = tuple[Recording | Alert, ...]


def health_rules(prefix: str, job: str) -> list[Group]:
    """Return the groups of rules that watch Spanledger itself. `job` is the exporter's in Prometheus."""
    return [
        Group(f"{prefix}-budget-state", (*_evaluation(job), *_figures(), *_messages())),
        Group(f"{prefix}-enforcement", _enforcement(job)),
        Group(f"{prefix}-exporter", (*_replicas(job), *_ingest(), *_settings())),
        Group(f"{prefix}-ledger", _ledger()),
        Group(f"{prefix}-collector", _collector()),
    ]


def _evaluation(job: str) -> _Rules:
    evaluated = "spanledger_budget_last_evaluation_timestamp_seconds"
    nobody = f"time() - max({evaluated}) > {STALE_S}"
    return (
        Alert(
            name="SpanledgerBudgetDataStale",
            # None at all is stale, too; an exporter that is down has an alert of its own.
            expr=expression(f"""
                {nobody}
                or
                absent({evaluated}) and on () max(up{{job="{job}"}}) == 1
            """),
            severity="critical",
            hold="5m",
            keep="5m",
            summary="The state of the budgets is old: nobody watches them",
            description=f"For {STALE_S // 60} minutes no replica has worked out how the budgets stand. What their "
            "metrics and alerts say is of then.",
            dashboard="budgets",
        ),
        Alert(
            name="SpanledgerBudgetDataStale",
            expr=expression(f"""
                time() - max by (job, instance) ({evaluated}) > {STALE_S}
                unless on () {nobody}
            """),
            severity="warning",
            hold="5m",
            keep="5m",
            summary="What the exporter at {{ $labels.instance }} says of the budgets is old",
            description=f"For {STALE_S // 60} minutes it has not worked out how they stand; others have. It goes on "
            "showing what it knew: of a period that is over, too.",
            dashboard="exporter",
        ),
        Alert(
            name="SpanledgerBudgetEvaluationFailing",
            expr="sum(increase(spanledger_budget_evaluation_failures_total[15m])) > 0",
            severity="warning",
            keep="5m",
            summary="Working out how the budgets stand has failed {{ $value | humanize }} times",
            description="In the last 15 minutes. Their state stays that of before; the exporter's log says why.",
            dashboard="exporter",
        ),
    )


def _figures() -> _Rules:
    return (
        Alert(
            name="SpanledgerBudgetAnomaly",
            expr="max by (budget, group) (genai_budget_anomaly_score) >= 1",
            severity="warning",
            hold="5m",
            keep="15m",
            summary=f"{BUDGET} spends unlike it usually does on such a day",
            description="More than the same weekdays before would lead to expect. `spanledger budgets show` names the "
            "models, services and projects that explain it.",
            dashboard="budgets",
        ),
        Alert(
            name="SpanledgerBudgetUnpriced",
            # Of budgets in USD alone: one in tokens or calls has counted such a call like any other.
            expr=expression("""
                max by (budget, group) (genai_budget_unpriced_calls) > 0
                and on (budget, group) genai_budget_limit_usd
            """),
            severity="warning",
            hold="5m",
            keep="15m",
            summary=f"{BUDGET} has {{{{ $value }}}} calls whose cost is not known",
            description="In this period. It has spent more than is counted, unless it counts them at a default rate.",
            dashboard="budgets",
        ),
        Alert(
            name="SpanledgerBudgetDrift",
            expr="max by (budget) (abs(spanledger_budget_drift_usd)) > 0.000001",
            severity="warning",
            hold="15m",
            keep="15m",
            summary='What budget {{ $labels.budget }} has counted is {{ printf "%.6f" $value }} USD off the ledger',
            description="The counter of its period is not the sum of the entries that it should count.",
            dashboard="quality",
        ),
        Alert(
            name="SpanledgerBudgetGroupsFolded",
            expr="sum(increase(spanledger_budget_groups_folded_total[1h])) > 0",
            severity="warning",
            keep="15m",
            summary="A budget has too many groups: further ones count together",
            description="Of more than 100,000 values in a period those that are new count together as __other__, under "
            "one limit.",
            dashboard="exporter",
        ),
    )


def _messages() -> _Rules:
    return (
        Alert(
            name="SpanledgerNotificationsFailing",
            expr=expression("""
                sum(increase(spanledger_notifications_total{result="abandoned"}[1h])) > 0
                or sum(increase(spanledger_notifications_total{result="failed"}[1h])) > 3
            """),
            severity="warning",
            keep="15m",
            summary="Messages about budgets are not delivered ({{ $value | humanize }} times)",
            description="In the last hour, to attempts that failed or messages that were given up. The notifier tries "
            "for as long as a message is worth it; meanwhile nobody is told.",
            dashboard="exporter",
        ),
    )


def _enforcement(job: str) -> _Rules:
    def decided(which: str) -> str:
        return born_or_rising(f'genai_budget_decisions_total{{decision=~"{which}"}}', "(budget)", "10m", job)

    return (
        Alert(
            name="SpanledgerBudgetFailingOpen",
            expr=decided("failed_open"),
            severity="critical",
            keep="5m",
            summary="Calls pass budget {{ $labels.budget }} unchecked",
            description="Services could not reach the exporter, and let calls pass, as the budget's on_unreachable "
            "says. They are counted when their spans arrive; until then nothing holds the limit.",
            dashboard="budgets",
        ),
        Alert(
            name="SpanledgerBudgetUnreachable",
            expr=decided("safe|closed"),
            severity="critical",
            keep="5m",
            summary="Services enforce budget {{ $labels.budget }} without the exporter",
            description="They could not reach it, and let calls pass up to the safe allowance, or refuse them, as the "
            "budget's on_unreachable says.",
            dashboard="budgets",
        ),
        Alert(
            name="SpanledgerBudgetRefusing",
            expr=decided("refused"),
            severity="warning",
            keep="5m",
            summary="Calls are refused for budget {{ $labels.budget }}",
            description="Its limit is reached, as far as what is left is too little for the next call. That is what a "
            "hard budget is for; users of the service see errors.",
            dashboard="budgets",
        ),
        Alert(
            name="SpanledgerBudgetBoundExceeded",
            expr=decided("over_bound"),
            severity="warning",
            keep="15m",
            summary="Calls under budget {{ $labels.budget }} cost more than was reserved for them",
            description="So the limit may be overshot by the difference.",
            dashboard="budgets",
        ),
        Alert(
            name="SpanledgerBudgetUnaccounted",
            expr="max by (budget, group) (genai_budget_unaccounted_ratio) > 0.05",
            severity="warning",
            hold="15m",
            keep="15m",
            summary=f"{{{{ $value | humanizePercentage }}}} of {BUDGET} is held for processes that are gone",
            description="They ended without a report, and spans that would account for it have not come. It is held "
            "until they come, the period ends, or `spanledger budgets release` lets it go.",
            dashboard="budgets",
        ),
        Alert(
            name="SpanledgerLeasesFailing",
            expr=expression("""
                sum(rate(spanledger_lease_requests_total{answer!="ok"}[5m]))
                  / sum(rate(spanledger_lease_requests_total[5m])) > 0.05
            """),
            severity="critical",
            hold="5m",
            keep="5m",
            summary="{{ $value | humanizePercentage }} of the requests for leases fail",
            description="Services that enforce budgets soon do what on_unreachable says.",
            dashboard="exporter",
        ),
    )


def _replicas(job: str) -> _Rules:
    up = f'up{{job="{job}"}}'
    return (
        Alert(
            name="SpanledgerExporterDown",
            expr=f"max by (job) ({up}) == 0 or absent({up})",
            severity="critical",
            hold="2m",
            summary="No exporter answers",
            description="Prometheus reaches none, or knows of none. Senders keep what they can; budgets are watched by "
            "nobody, and services that enforce them do what on_unreachable says.",
            dashboard="exporter",
        ),
        Alert(
            name="SpanledgerExporterReplicaDown",
            expr=f"{up} == 0 and on (job) max by (job) ({up}) == 1",
            severity="warning",
            hold="5m",
            summary="The exporter at {{ $labels.instance }} does not answer",
            description="Others do, and take its work.",
            dashboard="exporter",
        ),
    )


def _ingest() -> _Rules:
    requests = "spanledger_requests_total"
    return (
        Alert(
            name="SpanledgerIngestFailing",
            expr=expression(f"""
                sum(rate({requests}{{answer="unavailable"}}[5m])) / sum(rate({requests}[5m])) > 0.05
            """),
            severity="critical",
            hold="10m",
            keep="5m",
            summary="{{ $value | humanizePercentage }} of the requests of senders are put off",
            description="They are told to try again: the ledger's database is locked, full, gone or too slow. What "
            "senders cannot keep until then is lost.",
            dashboard="exporter",
        ),
        Alert(
            name="SpanledgerIngestRejecting",
            expr=expression(f"""
                sum(increase({requests}{{answer=~"rejected|too_large"}}[15m])) > 0
                or sum(increase(spanledger_spans_total{{result="rejected"}}[15m])) > 0
            """),
            severity="warning",
            keep="5m",
            summary="{{ $value | humanize }} requests or spans were refused for good",
            description="In the last 15 minutes. Their senders drop them: the calls in them are in no sum.",
            dashboard="exporter",
        ),
        Alert(
            name="SpanledgerIngestDenied",
            expr=f'sum(increase({requests}{{answer="denied"}}[15m])) > 0',
            severity="warning",
            keep="5m",
            summary="{{ $value | humanize }} requests had no token that lets them in",
            description="In the last 15 minutes. Their senders drop what was in them.",
            dashboard="exporter",
        ),
    )


def _settings() -> _Rules:
    return (
        Alert(
            name="SpanledgerReloadFailing",
            expr="sum by (files) (increase(spanledger_reload_failures_total[1h])) > 0",
            severity="warning",
            summary="The changed {{ $labels.files }} cannot be used",
            description="What they said before stays in force, until a certificate of it has expired.",
            dashboard="exporter",
        ),
        Alert(
            name="SpanledgerPricesOld",
            expr=f"time() - max(spanledger_price_book_timestamp_seconds) > {PRICES_OLD_DAYS} * 86400",
            severity="warning",
            hold="1h",
            summary="The prices are {{ $value | humanizeDuration }} old",
            description=f"The price list in use is older than {PRICES_OLD_DAYS} days. Newer models have no price, and "
            "what has become cheaper or dearer since is priced as it was.",
            dashboard="quality",
        ),
        Alert(
            name="SpanledgerLabelsFolded",
            expr="sum(spanledger_folded_calls_total) > 0 or max(spanledger_folded_series_total) > 0",
            severity="info",
            hold="5m",
            summary="{{ $value | humanize }} calls or series have no labels of their own in the metrics",
            description="There are more combinations than ledger.cells_max or metrics.series_max; what is more is "
            "__other__. The sums and the ledger are right.",
            dashboard="exporter",
        ),
    )


def _ledger() -> _Rules:
    return (
        Alert(
            name="SpanledgerDeadLetters",
            expr="sum by (reason) (increase(spanledger_dead_letters_total[1h])) > 0",
            severity="warning",
            keep="15m",
            summary="{{ $value | humanize }} spans became dead letters ({{ $labels.reason }})",
            description="In the last hour. They can never become entries as they are, and were set aside.",
            dashboard="exporter",
        ),
        Alert(
            name="SpanledgerDeadLettersDropped",
            expr="sum(increase(spanledger_dead_letters_dropped_total[1h])) > 0",
            severity="critical",
            keep="15m",
            summary="{{ $value | humanize }} dead letters gave way to others",
            description="There are more than dead_letters.rows_max: the oldest are gone for good.",
            dashboard="exporter",
        ),
        Alert(
            name="SpanledgerCommitsSlow",
            expr="histogram_quantile(0.99, sum by (le) (rate(spanledger_commit_duration_seconds_bucket[5m]))) > 1",
            severity="warning",
            hold="10m",
            keep="5m",
            summary="One commit in a hundred takes {{ $value | humanizeDuration }} or longer",
            description="Senders wait for it. The disk or the database is slow, or something holds its locks.",
            dashboard="exporter",
        ),
        Alert(
            name="SpanledgerMaintenanceFailing",
            expr='sum by (task) (increase(spanledger_maintenance_runs_total{result="failed"}[2h])) > 0',
            severity="warning",
            keep="15m",
            summary="The ledger's hourly task {{ $labels.task }} fails",
            description="In the last two hours. Without `prepare`, PostgreSQL runs out of partitions within months; "
            "without the others old rows stay.",
            dashboard="exporter",
        ),
        Alert(
            name="SpanledgerWalGrowing",
            expr="max(spanledger_wal_bytes) > 1e9",
            severity="warning",
            hold="10m",
            summary="SQLite's write-ahead log has {{ $value | humanize1024 }}B",
            description="Somebody holds a transaction open, and keeps it from being emptied; it grows until the disk "
            "is full.",
            dashboard="exporter",
        ),
        Alert(
            name="SpanledgerRepeatedSpans",
            expr="sum(increase(spanledger_repeated_spans_total[2h])) > 0",
            severity="warning",
            keep="15m",
            summary="{{ $value | humanize }} spans are counted more than once",
            description="They came by several ways, of which one cuts their times.",
            dashboard="quality",
        ),
    )


def _collector() -> _Rules:
    lost = "otelcol_(exporter_enqueue_failed|receiver_refused)_spans(_total)?"
    return (
        Alert(
            name="SpanledgerCollectorQueueFilling",
            expr=expression("""
                max by (job, instance, exporter) (otelcol_exporter_queue_size)
                  / max by (job, instance, exporter) (otelcol_exporter_queue_capacity) > 0.8
            """),
            severity="warning",
            hold="5m",
            summary="The queue of the collector at {{ $labels.instance }} is {{ $value | humanizePercentage }} full",
            description="The exporter does not take what it sends fast enough, or not at all. When it is full, "
            "services wait, and drop what they cannot keep.",
            dashboard="exporter",
        ),
        Alert(
            name="SpanledgerCollectorDropping",
            expr=f'sum by (job, instance) (increase({{__name__=~"{lost}"}}[15m])) > 0',
            severity="critical",
            keep="5m",
            summary="The collector at {{ $labels.instance }} did not take {{ $value | humanize }} spans",
            description="In the last 15 minutes. Its disk is full, or it has too little memory; unless their senders "
            "try again, these calls are lost.",
            dashboard="exporter",
        ),
    )
