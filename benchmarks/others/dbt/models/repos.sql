{{ config(materialized="external", location=env_var("BENCH_LAKE") ~ "/staging/repos/day=" ~ var("day") ~ "/data.parquet") }}
WITH raw AS (
    FROM read_parquet('{{ env_var("BENCH_LAKE") }}/raw/github_repos/day={{ var("day") }}/*.parquet', hive_partitioning = false)
),
twice AS (SELECT org, id FROM raw GROUP BY ALL HAVING count(*) > 1),
newest AS (
    FROM raw ANTI JOIN twice USING (org, id)
    UNION ALL
    FROM raw SEMI JOIN twice USING (org, id)
    QUALIFY row_number() OVER (
        PARTITION BY org, id ORDER BY greatest(updated_at, pushed_at) DESC, observed_at DESC, _dlt_load_id DESC
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
    coalesce(from_json(topics, '["VARCHAR"]'), []) AS topics,
    fork AS is_fork,
    archived AS is_archived,
    visibility,
    created_at,
    updated_at,
    pushed_at,
    greatest(updated_at, pushed_at) AS active_at,
    observed_at
FROM newest
WHERE id IS NOT NULL AND name <> ''
