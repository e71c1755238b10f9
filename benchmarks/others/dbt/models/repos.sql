{{ config(materialized="external", location=env_var("BENCH_LAKE") ~ "/staging/repos/day=" ~ var("day") ~ "/data.parquet") }}
WITH github_repos AS (
    FROM read_parquet('{{ env_var("BENCH_LAKE") }}/raw/github_repos/day={{ var("day") }}/*.parquet', hive_partitioning = true)
)
SELECT * EXCLUDE (day)
FROM (
    -- the project's query
)
WHERE repo_id IS NOT NULL AND repo_name <> ''
