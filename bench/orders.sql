-- mode: full
-- key: id
SELECT id, customer_no, status, amount, currency, order_date, created_at, qty, note, flag, weight, updated_at
FROM sales.orders
