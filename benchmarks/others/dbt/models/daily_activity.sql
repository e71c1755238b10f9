{{ config(materialized="external", location=env_var("BENCH_LAKE") ~ "/marts/daily_activity/day=" ~ var("day") ~ "/data.parquet") }}
-- depends_on: {{ ref("repos") }}
WITH observed AS (
    SELECT org, repo_id, pushed_at::DATE AS push_date, day
    FROM read_parquet('{{ env_var("BENCH_LAKE") }}/staging/repos/*/*.parquet', hive_partitioning = true)
    WHERE day BETWEEN DATE '{{ var("day") }}' - 12 AND DATE '{{ var("day") }}'
),
pushes AS (
    SELECT org, push_date, count(DISTINCT repo_id) AS push_count
    FROM observed
    WHERE push_date >= DATE '{{ var("day") }}' - 12
    GROUP BY ALL
),
dates AS (SELECT DATE '{{ var("day") }}' - n::INTEGER AS push_date FROM range(13) AS back(n))
SELECT
    org,
    push_date,
    coalesce(push_count, 0) AS push_count,
    round(avg(coalesce(push_count, 0)) OVER last_days, 2) AS rolling_7d_avg,
    count(*) OVER last_days AS days_averaged
FROM (SELECT DISTINCT org FROM observed WHERE day >= DATE '{{ var("day") }}' - 6)
CROSS JOIN dates
LEFT JOIN pushes USING (org, push_date)
WINDOW last_days AS (PARTITION BY org ORDER BY push_date ROWS 6 PRECEDING)
QUALIFY push_date >= DATE '{{ var("day") }}' - 6
ORDER BY org, push_date
