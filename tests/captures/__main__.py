"""Make captures again: `python -m tests.captures [NAME...]`, all of the table by default.

Each program calls the local provider, and sends its spans to a sink; both live here, so that what is written down is
what arrived and what the provider itself counted. Needs the package registries on a first run.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from spanledger_demo.provider import Provider, running_provider
from tests.captures import captures, environments
from tests.captures.captures import Capture, TallyCall
from tests.captures.sink import Sink, listening
from tests.captures.table import ROWS, Row

TIMEOUT_S = 180
KEY = "sk-capture-0123456789abcdef"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.captures", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows of tests/captures/table.py (default: all)")
    wanted = parser.parse_args().names or [row.name for row in ROWS]
    rows = {row.name: row for row in ROWS}
    if unknown := set(wanted) - set(rows):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    failed = [name for name in wanted if not _make(rows[name])]
    if failed:
        say(f"failed: {' '.join(failed)}")
    return bool(failed)


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _make(row: Row) -> bool:
    try:
        words = environments.command(row.language, row.packages, row.program)
        with running_provider() as provider, listening() as sink:
            subprocess.run(
                [*words, *row.instrumentations],
                env=_environment(row, provider, sink),
                timeout=TIMEOUT_S,
                check=True,
                stdout=sys.stderr,
                cwd=environments.CACHE,
            )
            capture = _capture(row, provider, sink)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as exc:
        say(f"{row.name}: {exc}")
        return False
    if sink.refused or not capture.requests:
        say(f"{row.name}: {len(capture.requests)} requests kept, refused {sink.refused}")
        return False
    captures.save(capture)
    say(f"{row.name}: {len(capture.requests)} requests, {len(capture.calls)} calls")
    return True


def _environment(row: Row, provider: Provider, sink: Sink) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SSL_CERT_FILE") if name in os.environ}
    return {
        **kept,
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENAI_BASE_URL": provider.openai_url,
        "OPENAI_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": provider.url,
        "ANTHROPIC_API_KEY": KEY,
        "PROVIDER_URL": provider.url,
        "OTEL_SERVICE_NAME": row.name,
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{sink.url}/v1/traces",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        # Some spans travel together and some apart, as they do in a service.
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        # Who ran it is nobody's business.
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "otel",
        "OTEL_NODE_RESOURCE_DETECTORS": "none",
        # Where the tools that do not take OpenTelemetry's word for it send their spans.
        "LANGFUSE_BASE_URL": sink.url,
        "LANGSMITH_ENDPOINT": sink.url,
        # What some report home, they shall not.
        "DO_NOT_TRACK": "1",
        "HAYSTACK_TELEMETRY_ENABLED": "false",
        "TRACELOOP_TELEMETRY": "false",
        **row.environment,
    }


def _capture(row: Row, provider: Provider, sink: Sink) -> Capture:
    return Capture(
        name=row.name,
        requests=[_without_folders(body) for body in sink.bodies],
        calls=[TallyCall(**answer) for answer in provider.answers()],
        made_by={
            "language": row.language,
            "runtime": environments.runtime(row.language),
            "program": row.program,
            "instrumentations": list(row.instrumentations),
            "environment": {name: value for name, value in row.environment.items() if not name.endswith("_KEY")},
            "packages": environments.versions(row.language, row.packages),
        },
    )


def _without_folders(body: bytes) -> bytes:
    """Hide the machine's folders, which stack traces name, without changing any length that protobuf wrote down."""
    for folder in (environments.ROOT, Path(sys.base_prefix), Path.home()):
        body = body.replace(str(folder).encode(), b"/app".ljust(len(str(folder)), b"x"))
    return body


if __name__ == "__main__":
    sys.exit(main())
