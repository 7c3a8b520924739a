-- What the ERP holds before anybody reads it. :scale multiplies every count. Deterministic: no random(), no clock.

INSERT INTO sales.arcust
SELECT to_char(n, 'FM"C"0000000'),
       CASE n % 9 WHEN 0 THEN 'Müller & Söhne GmbH ' || n
                  WHEN 1 THEN convert_from(convert_to('Bäckerei Grün ' || n, 'UTF8'), 'LATIN1')  -- damaged for good
                  ELSE 'Customer ' || n END,
       n || ' Industrial Pkwy, Joliet IL',
       (ARRAY['A', 'A', 'A', 'A', 'H', 'X'])[1 + n % 6],
       CASE WHEN n % 6 = 5 THEN 0 ELSE (n % 97) * 25000 END,  -- the closed ones have no credit
       1000000 + (n % 24) * 10000 + (1 + n % 12) * 100 + 1 + n % 28,
       'buyer' || n || '@customer.example',
       CASE WHEN n % 5 = 0 THEN (SELECT string_agg(md5(n || '/' || k), '') FROM generate_series(1, 120) k) END
FROM generate_series(1, 2000 * :scale) n;

INSERT INTO sales.icitem
SELECT to_char(n, 'FM"ITEM-"00000'), 'Part no. ' || n, (ARRAY['EA', 'BX', 'KG', 'M'])[1 + n % 4],
       (n % 500) + 0.125, (1 + n % 300) * 12345, n % 41 = 0, n * 0.1
FROM generate_series(1, 2500 * :scale) n;

INSERT INTO sales.oeordh
SELECT to_char(n, 'FM"SO"00000000'), to_char(1 + n % (2000 * :scale), 'FM"C"0000000'),
       1260000 + (1 + n % 10) * 100 + 1 + n % 28, (ARRAY['O', 'C', 'S', 'X'])[1 + n % 4], (n % 1000) * 1999, 'USD',
       CASE WHEN n % 4 = 2 THEN 1261115 ELSE 0 END, 'WEB-' || n,
       CASE WHEN n % 3 = 0 THEN (SELECT string_agg(md5(n || ':' || k), '') FROM generate_series(1, 120) k) END,
       timestamp '2026-11-02 08:00' + n * interval '17 seconds'
FROM generate_series(1, 1500 * :scale) n;

INSERT INTO sales.oeordd
SELECT to_char(n, 'FM"SO"00000000'), line, to_char(1 + (n * 7 + line) % (2500 * :scale), 'FM"ITEM-"00000'),
       line * 2.5, (1 + n % 300) * 12345
FROM generate_series(1, 1500 * :scale) n, generate_series(1, 2) line;

INSERT INTO sales.aptrx
SELECT n, to_char(n % 90, 'FM"V"0000000'), 1261101, n * 1050, 'INV ' || n FROM generate_series(1, 300 * :scale) n;

INSERT INTO sales.gltrx
SELECT n, to_char(4000 + n % 30, 'FM000000000'), (n % 2 * 2 - 1) * n * 100, 'JE ' || n, 1261101
FROM generate_series(1, 500 * :scale) n;

INSERT INTO sales.sessions
SELECT 'tok_' || md5('session ' || n), to_char(n, 'FM"U"0000000'), '10.0.0.1', '2026-11-20 12:00Z'
FROM generate_series(1, 50) n;

-- Rows that no sane contract takes.
UPDATE sales.arcust SET opn_dt = 1239931 WHERE cust_no = 'C0000011';  -- the 99th month has 31 days
UPDATE sales.arcust SET sts = 'Z' WHERE cust_no = 'C0000012';         -- nobody knows what Z means
UPDATE sales.arcust SET cr_lim = -50000 WHERE cust_no = 'C0000013';
UPDATE sales.arcust SET cust_nm = NULL WHERE cust_no = 'C0000014';
UPDATE sales.icitem SET uom = NULL WHERE item_no = 'ITEM-00011';
UPDATE sales.oeordh SET ord_dt = 1260230 WHERE ord_no = 'SO00000011'; -- 30 February
UPDATE sales.oeordh SET sts = 'S', ship_dt = 0 WHERE ord_no = 'SO00000012'; -- shipped, never
