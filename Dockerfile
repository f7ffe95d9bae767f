# The exporter: `docker build -t spanledger .`, or by way of docker-compose.yaml.
# What is installed is what uv.lock says, so that an image is tested code and nothing newer.

FROM python:3.13-slim AS build
RUN pip install --no-cache-dir uv==0.13.9
ENV UV_PROJECT_ENVIRONMENT=/opt/spanledger UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE otel-collector.yaml ./
COPY instrumentation instrumentation
COPY exporter exporter
COPY demo demo
COPY dashboards dashboards
RUN uv sync --frozen --no-dev --no-editable --extra exporter --extra postgres --extra notify

FROM python:3.13-slim
RUN useradd --system --create-home --home-dir /var/lib/spanledger spanledger
COPY --from=build /opt/spanledger /opt/spanledger
ENV PATH=/opt/spanledger/bin:$PATH PYTHONUNBUFFERED=1
USER spanledger
WORKDIR /var/lib/spanledger
# OTLP over gRPC and HTTP, and the metrics; where they listen, and who may come in, docs/configuration.md says.
EXPOSE 4317 4318 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/readyz', timeout=4)"]
ENTRYPOINT ["spanledger"]
CMD ["serve"]
