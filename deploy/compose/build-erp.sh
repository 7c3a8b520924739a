#!/usr/bin/env bash
# Builds the demonstration ERP when its database is created, lets the DBA do their part, and gives the bridge's login the
# password of the secret.
set -euo pipefail
erp() {
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres --dbname erp "$@"
}
erp --file /demo/schema.sql
erp --set scale=1 --file /demo/rows.sql
erp --file /demo/dba.sql
erp --set password="$(<"$POSTGRES_PASSWORD_FILE")" <<'SQL'
ALTER ROLE bridge_ro PASSWORD :'password';
SQL
