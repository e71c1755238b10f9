"""The machinery: partitions, tables, landing, lake, IO managers, checks, catalog, warehouse. It knows no source."""
