"""One Parquet lake behind two IO managers: Arrow types throughout, one file per day, atomic writes."""
