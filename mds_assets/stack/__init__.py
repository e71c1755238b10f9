"""The machinery that all sources share: partitions, tables, landing, lake, IO managers, checks, warehouse."""
