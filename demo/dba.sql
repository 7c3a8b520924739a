-- What the DBA runs once, in the ERP's database, so that the bridge may read: a login, SELECT, two publications.

DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bridge_ro') THEN
        CREATE ROLE bridge_ro LOGIN REPLICATION;
    END IF;
END $$;

GRANT USAGE ON SCHEMA sales TO bridge_ro;
GRANT SELECT ON sales.arcust, sales.oeordh, sales.oeordd, sales.icitem, sales.aptrx, sales.gltrx TO bridge_ro;

CREATE PUBLICATION legacy_bridge
    FOR TABLE sales.arcust, sales.oeordh, sales.oeordd, sales.icitem, sales.gltrx
    WITH (publish_via_partition_root = true);

-- Without a key, UPDATE and DELETE in the ERP would fail in any publication but an insert-only one.
CREATE PUBLICATION legacy_bridge_inserts
    FOR TABLE sales.aptrx
    WITH (publish = 'insert', publish_via_partition_root = true);
