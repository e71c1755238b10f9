"""One Parquet lake behind two IO managers: Arrow between assets, one file a day, atomic writes."""
