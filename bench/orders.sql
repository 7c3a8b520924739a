-- mode: full
-- key: id
-- page_rows: 50_000
SELECT id, customer_no, status, amount, currency, order_date, created_at, qty, note, flag, weight, updated_at
FROM sales.orders
