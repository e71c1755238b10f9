"""The machinery: partitions, tables, landing, lake, IO managers, checks, catalog, warehouse. It depends on no source."""
