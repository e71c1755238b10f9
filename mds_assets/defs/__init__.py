"""What Dagster sees: one folder per source."""
