"""What Dagster itself takes: three partitioned assets that do nothing."""
