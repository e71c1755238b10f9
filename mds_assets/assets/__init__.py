"""The tables: one module a layer; and the warehouse over them."""

# Here, so that `mds sql` need not import Dagster, which takes longer than its queries.
WAREHOUSE = "warehouse.duckdb"
