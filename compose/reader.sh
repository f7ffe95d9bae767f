#!/bin/sh
# Run once, when the database is made: the role that Grafana reads with. What it may read, `spanledger ledger grant` says.
set -eu
psql --quiet --set=ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set=password="$SPANLEDGER_READER_PASSWORD" <<'SQL'
CREATE ROLE spanledger_reader LOGIN PASSWORD :'password';
ALTER ROLE spanledger_reader SET default_transaction_read_only = on;
ALTER ROLE spanledger_reader SET statement_timeout = '30s';
SQL
