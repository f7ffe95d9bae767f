#!/bin/sh
# Run by PostgreSQL's image when its folder is empty: a role for dashboards. `spanledger ledger grant` lets it read the views.
set -eu
psql --set ON_ERROR_STOP=1 --set password="$LEDGER_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE grafana LOGIN PASSWORD :'password';
ALTER ROLE grafana SET statement_timeout = '30s';
ALTER ROLE grafana SET default_transaction_read_only = on;
SQL
