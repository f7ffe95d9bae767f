"""The settings of the exporter, a row each: where one stands, how its text is read, and what it is when nobody says."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from spanledger_exporter import setting_texts
from spanledger_exporter.metrics.dimensions import ALLOWED_DIMENSIONS, DEFAULT_NAMES
from spanledger_exporter.setting_texts import LOG_LEVELS, Address

_MIB: Final = 1024 * 1024


def default_ledger_url() -> str:
    """Return the URL of the SQLite ledger in the platform's data folder."""
    from platformdirs import user_data_path

    return f"sqlite:///{user_data_path('spanledger', appauthor=False) / 'ledger.db'}"


class Setting(NamedTuple):
    """One setting: where it stands, how its text is read, and what it is when nobody says."""

    field: str
    key: str
    read: Callable[[str], Any]  # each setting has a type of its own
    default: Callable[[], str]
    meaning: str
    flag: str | None = None
    several: bool = False  # a list of texts will do in a file
    secret: bool = False  # no message says what it is

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return "SPANLEDGER_" + self.key.upper().replace(".", "_")


def _always(text: str) -> Callable[[], str]:
    return lambda: text


_BYTES = setting_texts.whole(1024, 2**31 - 1)
SETTINGS = (
    Setting("grpc", "receiver.grpc", Address.parse, _always("127.0.0.1:4317"), "where OTLP/gRPC listens", "--grpc"),
    Setting("http", "receiver.http", Address.parse, _always("127.0.0.1:4318"), "where OTLP/HTTP listens", "--http"),
    Setting(
        "request_bytes_max",
        "receiver.request_bytes_max",
        _BYTES,
        _always(str(64 * _MIB)),
        "largest request, in bytes, before and after decompression",
    ),
    Setting(
        "in_flight_bytes_max",
        "receiver.in_flight_bytes_max",
        _BYTES,
        _always(str(256 * _MIB)),
        "bytes of requests that may wait for their commit; more are told to retry",
    ),
    Setting(
        "shutdown_grace_s",
        "receiver.shutdown_grace_s",
        setting_texts.whole(0, 3600),
        _always("10"),
        "seconds that accepted requests have to finish after SIGTERM",
    ),
    Setting(
        "read_timeout_s",
        "receiver.read_timeout_s",
        setting_texts.whole(1, 3600),
        _always("30"),
        "seconds that the head of an HTTP request may take to arrive, and its body again",
    ),
    Setting(
        "poison_tries_max",
        "receiver.poison_tries_max",
        setting_texts.whole(1, 1000),
        _always("5"),
        "how often a request may fail for no reason that can pass before what makes it fail is set aside",
    ),
    Setting(
        "tls_cert_file", "receiver.tls.cert_file", setting_texts.file, _always(""), "certificate of all ports, PEM"
    ),
    Setting("tls_key_file", "receiver.tls.key_file", setting_texts.file, _always(""), "the certificate's key, PEM"),
    Setting(
        "tls_client_ca_file",
        "receiver.tls.client_ca_file",
        setting_texts.file,
        _always(""),
        "authority of the certificates that clients must have, PEM",
    ),
    Setting(
        "insecure",
        "receiver.insecure",
        setting_texts.switch,
        _always("false"),
        "listen beyond loopback though TLS or tokens are missing",
        "--insecure",
    ),
    Setting(
        "tokens_file",
        "auth.tokens_file",
        setting_texts.file,
        _always(""),
        "hashes of the tokens that callers must have",
    ),
    Setting(
        "dead_letters_max",
        "dead_letters.rows_max",
        setting_texts.whole(1, 10_000_000),
        _always("10000"),
        "dead letters that are kept; the oldest give way",
    ),
    Setting(
        "metrics",
        "metrics.address",
        Address.parse,
        _always("127.0.0.1:9464"),
        "where /metrics, /healthz and /readyz listen",
        "--metrics",
    ),
    Setting(
        "metrics_dimensions",
        "metrics.dimensions",
        setting_texts.dimensions,
        _always(" ".join(DEFAULT_NAMES)),
        f"what spend is told apart by in metrics: some of {', '.join(ALLOWED_DIMENSIONS)}",
        several=True,
    ),
    Setting(
        "metrics_series_max",
        "metrics.series_max",
        setting_texts.whole(1, 1_000_000),
        _always("10000"),
        "series of one metric of spend; what comes beyond is summed under __other__",
    ),
    Setting(
        "metrics_hold_s",
        "metrics.new_series_hold_s",
        setting_texts.whole(0, 3600),
        _always("30"),
        "seconds for which a new series is shown as 0, so that increase() sees its first dollar: two scrape intervals",
    ),
    Setting(
        "metrics_follow_s",
        "metrics.follow_s",
        setting_texts.whole(1, 3600),
        _always("5"),
        "seconds between looks at what others have committed to the ledger",
    ),
    Setting(
        "ledger_url",
        "ledger.url",
        setting_texts.ledger_url,
        default_ledger_url,
        "SQLAlchemy URL of the ledger, SQLite or PostgreSQL",
        "--ledger",
    ),
    Setting(
        "commit_rows_max",
        "ledger.commit_rows_max",
        setting_texts.whole(1, 100_000),
        _always("8192"),
        "rows of waiting requests that one transaction gathers",
    ),
    Setting(
        "cells_max",
        "ledger.cells_max",
        setting_texts.whole(1, 10_000_000),
        _always("10000"),
        "combinations of service, environment, provider, model and outcome that are counted apart",
    ),
    Setting(
        "retention_days",
        "ledger.retention_days",
        setting_texts.whole(0, 36_500),
        _always("0"),
        "days after which an entry is deleted, while its sums stay; 0 keeps entries for ever",
    ),
    Setting(
        "prices_file",
        "prices.file",
        str,
        _always(""),
        "TOML file of negotiated prices, models of your own and names of deployments",
    ),
    Setting(
        "prices_poll_s",
        "prices.poll_s",
        setting_texts.whole(1, 86_400),
        _always("60"),
        "seconds between looks for a new price book and for changes of prices.file",
    ),
    Setting("budgets_file", "budgets.file", str, _always(""), "TOML file of budgets"),
    Setting(
        "budgets_keep_days",
        "budgets.keep_days",
        setting_texts.whole(70, 36_500),
        _always("400"),
        "days after its end for which it is kept what budgets counted in a period",
    ),
    Setting(
        "evaluation_s",
        "budgets.evaluation_s",
        setting_texts.whole(0, 86_400),
        _always("15"),
        "seconds between looks at how budgets stand; 0 is never",
    ),
    Setting(
        "notify_urls",
        "notify.urls",
        setting_texts.urls,
        _always(""),
        "Apprise URLs of the channels that messages about budgets go to",
        several=True,
        secret=True,
    ),
    Setting("notify_urls_file", "notify.urls_file", setting_texts.file, _always(""), "file of such URLs, one a line"),
    Setting(
        "notify_min_interval_h",
        "notify.min_interval_h",
        setting_texts.whole(0, 8760),
        _always("24"),
        "hours between two messages about the same budget and group, unless the later one is graver",
    ),
    Setting(
        "notify_budgets",
        "notify.budgets",
        setting_texts.names,
        _always("*"),
        "names of the budgets that messages are wanted of",
        several=True,
    ),
    Setting(
        "notify_link", "notify.link", setting_texts.link, _always(""), "link in messages; {budget} stands for the name"
    ),
    Setting(
        "grafana_token",
        "grafana.token",
        str,
        _always(""),
        "token of a service account of Grafana that may write dashboards",
        secret=True,
    ),
    Setting("log_level", "log.level", setting_texts.log_level, _always("info"), f"one of {', '.join(LOG_LEVELS)}"),
)
