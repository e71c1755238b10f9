MODEL (
  name github.repos,
  kind INCREMENTAL_BY_TIME_RANGE (time_column day, batch_size 1),
  cron '@daily',
  audits (
    not_null(columns := (org, repo_id, repo_name, description, language, topics, active_at, observed_at)),
    unique_combination_of_columns(columns := (org, repo_id))
  )
);

WITH raw AS (
  SELECT *
  FROM read_parquet(@'@{lake}/raw/github_repos/*/*.parquet', hive_partitioning = true)
  WHERE day BETWEEN @start_date AND @end_date
),
twice AS (
  SELECT org, id FROM raw GROUP BY org, id HAVING count(*) > 1
),
newest AS (
  SELECT raw.* FROM raw ANTI JOIN twice ON raw.org = twice.org AND raw.id = twice.id
  UNION ALL
  SELECT raw.* FROM raw SEMI JOIN twice ON raw.org = twice.org AND raw.id = twice.id
  QUALIFY row_number() OVER (
    PARTITION BY raw.org, raw.id
    ORDER BY greatest(raw.updated_at, raw.pushed_at) DESC, raw.observed_at DESC, raw._dlt_load_id DESC
  ) = 1
)
SELECT
  org,
  id AS repo_id,
  name AS repo_name,
  full_name AS repo_full_name,
  coalesce(description, '') AS description,
  stargazers_count AS stars,
  forks_count AS forks,
  open_issues_count AS open_issues,
  size AS size_kb,
  coalesce(language, 'Unknown') AS language,
  license ->> '$.spdx_id' AS license,
  coalesce(from_json(topics, '["VARCHAR"]')::VARCHAR[], []) AS topics,
  fork AS is_fork,
  archived AS is_archived,
  visibility,
  created_at,
  updated_at,
  pushed_at,
  greatest(updated_at, pushed_at) AS active_at,
  observed_at,
  day
FROM newest
WHERE id IS NOT NULL AND name <> ''
