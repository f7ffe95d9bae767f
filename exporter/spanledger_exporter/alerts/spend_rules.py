"""The rules that watch what is spent, whatever the budgets: spikes, calls without a price or usage, refusing providers.

Of several replicas of the exporter each shows the counters of the whole ledger, so that one of them is taken.
"""

from typing import Final

from spanledger_exporter.alerts.rules import Alert, Group, Recording, expression

_HOURLY: Final = "service_environment:genai_cost_usd:increase1h"
_COUNTED: Final = ("genai_calls", "genai_failed_calls", "genai_limited_calls")
_UNDATED: Final = "(.+?)(?:-20[0-9]{2}-?[0-9]{2}-?[0-9]{2})?"
_BY: Final = "(service, environment)"
_MODEL: Final = "{{ $labels.provider }}/{{ $labels.model }}"
SPIKE_FLOOR_USD: Final = 5
# The providers' own words for HTTP's 429, as `error.type` has them.
_LIMITED: Final = (
    "429|rate_limit.*|.*[Rr]ate_?[Ll]imit.*|RESOURCE_EXHAUSTED|Throttling.*|too_many_requests|insufficient_quota"
)


def rise(counter: str, window: str) -> str:
    """Return by how much counters of the ledger rose, whichever replicas showed them meanwhile.

    They never fall, nor begin anew with an exporter: docs/decisions/0019 says why this is better than `increase()`.
    """
    most, least = (f"{each} without (instance, pod) ({each}_over_time({counter}[{window}]))" for each in ("max", "min"))
    return f"{most} - {least}"


def born_or_rising(metric: str, by: str, window: str, job: str) -> str:
    """Return whether counters have risen within a window, or were not there before it.

    A series that appears with its first event has no rise that `increase` would see. Nothing counts as new where
    Prometheus has no samples of the time before, such as when it was set up just now.
    """
    return (
        f"sum by {by} (increase({metric}[{window}])) > 0\n"
        "or (\n"
        f"  (sum by {by} ({metric}) > 0 unless on {by} sum by {by} ({metric} offset {window}))\n"
        f'  and on () count(up{{job="{job}"}} offset {window})\n'
        ")"
    )


def spend_rules(prefix: str, job: str) -> list[Group]:
    """Return the groups of rules that watch spend."""
    return [Group(f"{prefix}-spend", (*_spend(job),)), Group(f"{prefix}-providers", (*_providers(),))]


def _spend(job: str) -> list[Recording | Alert]:
    unreported = f"sum by (service, model) ({rise('genai_unreported_calls_total', '1h')})"
    calls = f"sum by (service, model) ({rise('genai_calls_total', '1h')})"
    unpriced = 'genai_unpriced_calls_total{reason!="unreported_usage"}'
    return [
        Recording(_HOURLY, f"sum by {_BY} ({rise('genai_cost_usd_total', '1h')})"),
        Alert(
            name="SpanledgerSpendSpike",
            # Mondays are not Sundays: what was as dear at this hour a week ago is no spike, where that is known.
            expr=expression(f"""
                {_HOURLY} > {SPIKE_FLOOR_USD}
                and on {_BY} {_HOURLY} > on {_BY} 3 * ({_HOURLY} offset 1d)
                and on {_BY} {_HOURLY} > on {_BY} 3 * avg_over_time({_HOURLY}[1d] offset 1h)
                unless on {_BY} {_HOURLY} <= on {_BY} 3 * ({_HOURLY} offset 1w)
            """),
            severity="warning",
            hold="5m",
            keep="15m",
            summary="{{ with $labels.service }}{{ . }}{{ else }}A service without a name{{ end }} spent "
            '{{ printf "%.2f" $value }} USD within an hour',
            description="More than three times what it spent in the same hour yesterday, in the same hour a week ago "
            f"where that is known, and in the hours of the day before on average; and more than {SPIKE_FLOOR_USD} USD.",
            dashboard="spend",
        ),
        Alert(
            name="SpanledgerUnpricedModel",
            expr=born_or_rising(unpriced, "(provider, model, reason)", "1h", job),
            severity="warning",
            keep="15m",
            summary=f"Calls of {_MODEL} have no price ({{{{ $labels.reason }}}})",
            description="Their cost is unknown, and in no sum and under no budget, but for one that counts them at a "
            "default rate.",
            dashboard="quality",
        ),
        Alert(
            name="SpanledgerUnreportedUsage",
            expr=expression(f"""
                {unreported} / on (service, model) {calls} > 0.05
                and on (service, model) {unreported} > 3
            """),
            severity="warning",
            hold="10m",
            keep="15m",
            summary="{{ $value | humanizePercentage }} of {{ $labels.service }}'s calls of {{ $labels.model }} "
            "have no usage",
            description="The provider reported no tokens, or not all, and what such calls cost is not known.",
            dashboard="quality",
        ),
        Alert(
            name="SpanledgerRefusedFigures",
            expr="sum by (reason) (increase(spanledger_refused_figures_total[1h])) > 0",
            severity="info",
            summary="{{ $value | humanize }} usage figures make no sense ({{ $labels.reason }})",
            description="They are taken for not reported, and the usage of their calls for incomplete.",
            dashboard="quality",
        ),
    ]


def _by_undated_model(counter: str) -> str:
    """Return by how much a counter rose within 15 minutes, by provider and by model without its date.

    A call that failed names the model that was asked for, one that did not the model that answered: gpt-4o-mini and
    gpt-4o-mini-2024-07-18. What share fails can be told only where the two are one.
    """
    undated = f'label_replace({rise(counter, "15m")}, "undated", "$1", "model", "{_UNDATED}")'
    of_each = f"sum by (provider, undated) ({undated})"
    return f'sum by (provider, model) (label_replace({of_each}, "model", "$1", "undated", "(.*)"))'


def _providers() -> list[Recording | Alert]:
    calls, errors, limited = (f"provider_model:{name}:increase15m" for name in _COUNTED)
    return [
        Recording(calls, _by_undated_model("genai_calls_total")),
        Recording(errors, _by_undated_model('genai_calls_total{outcome="error"}')),
        Recording(limited, _by_undated_model(f'genai_call_errors_total{{error_type=~"{_LIMITED}"}}')),
        Alert(
            name="SpanledgerCallsFailing",
            expr=expression(f"""
                {errors} / on (provider, model) {calls} > 0.2
                and on (provider, model) {errors} > 5
            """),
            severity="warning",
            hold="5m",
            keep="15m",
            summary=f"{{{{ $value | humanizePercentage }}}} of the calls of {_MODEL} fail",
            description="In the last 15 minutes. What a failed call costs depends on the provider; retries cost anew.",
            dashboard="providers",
        ),
        Alert(
            name="SpanledgerRateLimitNear",
            # A limit of 0 is a model that is not enabled, and never near. The least that is left, on whichever replica.
            expr="max by (provider, model, kind) (1 - genai_rate_limit_remaining / (genai_rate_limit_limit > 0)) > 0.9",
            severity="warning",
            hold="5m",
            summary=f"{{{{ $value | humanizePercentage }}}} of the rate limit of {_MODEL} is used "
            "({{ $labels.kind }})",
            description="As the provider's answers say. When it is used up, calls are refused until it is renewed.",
            dashboard="providers",
        ),
        Alert(
            name="SpanledgerRateLimited",
            expr=expression(f"""
                {limited} / on (provider, model) {calls} > 0.05
                and on (provider, model) {limited} > 3
            """),
            severity="warning",
            hold="5m",
            keep="15m",
            summary=f"{{{{ $value | humanizePercentage }}}} of the calls of {_MODEL} are refused for a rate limit",
            description="In the last 15 minutes. SDKs try again, and what is waited for is late.",
            dashboard="providers",
        ),
    ]
