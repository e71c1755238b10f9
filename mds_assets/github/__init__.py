"""GitHub as a source: a plain-Python client and the dlt pipeline over it. Nothing here imports Dagster."""
