-- staging/customers: one row per customer and day, from the day's newest snapshot.
SELECT
    id AS customer_id,
    coalesce(country, 'Unknown') AS country,
    credit,
    since,
    day
FROM customers
QUALIFY row_number() OVER (PARTITION BY day, id ORDER BY _dlt_load_id DESC) = 1
