"""Landing: any dlt resource becomes one load, with a Parquet file for each UTC day.

Read `days` (what a source is asked for), `load` (`land`: one dlt load), `to_arrow` (which column a field lands in),
`casts` (a value in its declared type), `split` (a file a day), then `cursor` and `errors`. Nothing is imported here:
dlt is slow to import, and a process that only defines assets needs no more than `Days`.
"""
