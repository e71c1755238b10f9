MODEL (
  name github.repos,
  kind INCREMENTAL_BY_TIME_RANGE (time_column day, batch_size 1),
  cron '@daily',
  audits (
    not_null(columns := (org, repo_id, repo_name, description, language, topics, active_at, observed_at)),
    unique_combination_of_columns(columns := (org, repo_id))
  )
);

WITH github_repos AS (
  SELECT *
  FROM read_parquet(@'@{lake}/raw/github_repos/*/*.parquet', hive_partitioning = true)
  WHERE day BETWEEN @start_date AND @end_date
)
SELECT *
FROM (
  -- the project's query
) AS staged
WHERE repo_id IS NOT NULL AND repo_name <> ''
