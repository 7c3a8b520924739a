-- Customers as they are, for whoever trusts a view more than a change log. The demo reads the table both ways, and
-- reckons that they agree.
-- mode: full
-- key: cust_no
-- statement_timeout: 10s
SELECT cust_no, cust_nm, addr, sts, cr_lim, opn_dt, email, notes
FROM sales.arcust
