-- The ERP of a distributor, as its vendor delivered it in the nineties and as four upgrades left it.
-- Blank-padded keys, dates as numeric(7) CYYMMDD, implied decimals, one-letter codes, no foreign keys,
-- a table without a key, live session tokens beside the business data.

CREATE SCHEMA sales;

CREATE TABLE sales.arcust (
    cust_no char(8) PRIMARY KEY,
    cust_nm varchar(60),
    addr    varchar(120),
    sts     char(1),       -- A active, H hold, X closed
    cr_lim  numeric(11),   -- implied 2 decimals
    opn_dt  numeric(7),    -- CYYMMDD
    email   text,
    notes   text
);

CREATE TABLE sales.oeordh (
    ord_no  char(10) PRIMARY KEY,
    cust_no char(8),
    ord_dt  numeric(7),    -- CYYMMDD
    sts     char(1),       -- O open, C changed, S shipped, X cancelled
    amt     numeric(13),   -- implied 2 decimals
    cur     char(3),
    ship_dt numeric(7),    -- CYYMMDD, 0 = none
    ext_ref varchar(40),
    note    text,
    upd_ts  timestamp      -- the server's wall clock, America/Chicago
);

CREATE TABLE sales.oeordd (
    ord_no  char(10),
    line_no smallint,
    item_no char(12),
    qty     numeric(9, 3),
    price   numeric(11),   -- implied 4 decimals
    PRIMARY KEY (ord_no, line_no)
);

CREATE TABLE sales.icitem (
    item_no char(12) PRIMARY KEY,
    descr   varchar(40),
    uom     char(2),
    on_hand numeric(11, 3),
    price   numeric(11),   -- implied 4 decimals
    disc    boolean,
    wgt     double precision
);

CREATE TABLE sales.aptrx ( -- no key: the vendor never needed one
    trx_no  integer,
    vend_no char(8),
    trx_dt  numeric(7),    -- CYYMMDD
    amt     numeric(13),   -- implied 2 decimals
    ref     varchar(20)
);

CREATE TABLE sales.gltrx (
    trx_id  bigint PRIMARY KEY,
    acct    char(9),
    amt     numeric(15),   -- implied 2 decimals
    ref     varchar(20),   -- '*PENDING*' until the posting run's second transaction
    post_dt numeric(7)     -- CYYMMDD
);

CREATE TABLE sales.sessions ( -- live tokens: never to be captured
    token   text PRIMARY KEY,
    user_id char(8),
    ip      inet,
    at      timestamptz
);
