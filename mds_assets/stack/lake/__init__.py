"""The lake: Parquet files on a folder or in an object store, written as a whole or not at all."""
