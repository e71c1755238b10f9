"""Landing: turn any dlt resource into one load, with a Parquet file per UTC day.

Read `days` (the requested range), `load` (`land`: one dlt load), `to_arrow` (which column a field lands in), `casts`
(converting values to their declared types), `split` (one file per day), then `cursor` and `errors`. This module imports
nothing, because dlt is slow to import, and a process that only defines assets needs no more than `Days`.
"""
