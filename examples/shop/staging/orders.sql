-- staging/orders: one row per order and day, its newest state of the day.
SELECT
    id AS order_id,
    customer_id,
    sku,
    quantity,
    status = 'cancelled' AS is_cancelled,
    updated_at,
    day
FROM orders
QUALIFY row_number() OVER (PARTITION BY day, id ORDER BY updated_at DESC, _dlt_load_id DESC) = 1
