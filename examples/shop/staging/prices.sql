-- staging/prices: one row per article, from the newest price list that has it. Lists are named by their date.
SELECT sku, price
FROM prices
QUALIFY row_number() OVER (PARTITION BY sku ORDER BY file DESC, _dlt_load_id DESC) = 1
