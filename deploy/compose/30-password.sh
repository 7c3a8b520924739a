#!/usr/bin/env bash
# Gives the bridge's login the password of the secret; runs once, when the demonstration database is created.
set -euo pipefail
psql --set ON_ERROR_STOP=1 --set password="$(<"$POSTGRES_PASSWORD_FILE")" --username postgres --dbname erp <<'SQL'
ALTER ROLE bridge_ro PASSWORD :'password';
SQL
