SELECT
    id AS order_id,
    coalesce(country, '?') AS country,
    total AS cents,
    updated_at,
    day
FROM orders
QUALIFY row_number() OVER (PARTITION BY day, id ORDER BY updated_at DESC, _dlt_load_id DESC) = 1
