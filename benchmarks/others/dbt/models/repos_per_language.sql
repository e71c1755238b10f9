{{ config(materialized="external", location=env_var("BENCH_LAKE") ~ "/marts/repos_per_language/day=" ~ var("day") ~ "/data.parquet") }}
-- depends_on: {{ ref("repos") }}
WITH newest AS (
    SELECT org, repo_id, arg_max(struct_pack(language, stars, forks), day) AS newest
    FROM read_parquet('{{ env_var("BENCH_LAKE") }}/staging/repos/*/*.parquet', hive_partitioning = true)
    WHERE day BETWEEN DATE '{{ var("day") }}' - 6 AND DATE '{{ var("day") }}'
    GROUP BY ALL
)
SELECT
    org,
    newest.language AS language,
    count(*) AS repo_count,
    round(avg(newest.stars), 1) AS avg_stars,
    round(avg(newest.forks), 1) AS avg_forks
FROM newest
GROUP BY ALL
ORDER BY org, repo_count DESC, language
