# The exporter in a container, with PostgreSQL's client and the notifier: `docker build -t spanledger .`
FROM python:3.13.1-slim-bookworm AS build
WORKDIR /src
# What is installed is what uv.lock says: two images of one commit are the same.
RUN pip install --no-cache-dir uv==0.13.9
ENV UV_PROJECT_ENVIRONMENT=/venv UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
COPY pyproject.toml uv.lock README.md LICENSE otel-collector.yaml ./
COPY instrumentation instrumentation
COPY exporter exporter
COPY demo demo
COPY dashboards dashboards
RUN uv sync --frozen --no-dev --no-editable --extra exporter --extra postgres --extra notify

FROM python:3.13.1-slim-bookworm
RUN groupadd --gid 10001 spanledger \
  && useradd --no-log-init --uid 10001 --gid 10001 --create-home --home-dir /var/lib/spanledger spanledger
COPY --from=build /venv /venv
# Without PostgreSQL the ledger is in the volume.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 SPANLEDGER_LEDGER_URL=sqlite:////var/lib/spanledger/ledger.db
# A number: of a name Kubernetes' runAsNonRoot cannot tell that it is not root's.
USER 10001:10001
WORKDIR /var/lib/spanledger
VOLUME /var/lib/spanledger
EXPOSE 4317 4318 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/readyz', timeout=4)"]
ENTRYPOINT ["spanledger"]
# This listens on loopback, where published ports do not lead: for a pod. Beyond it the exporter wants addresses, TLS and tokens,
# or --insecure, which is for the network of containers alone. docs/containers.md has both.
CMD ["serve"]
