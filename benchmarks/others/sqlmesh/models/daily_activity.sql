MODEL (
  name github.daily_activity,
  kind INCREMENTAL_BY_TIME_RANGE (time_column day, batch_size 1),
  cron '@daily',
  audits (
    not_null(columns := (org, push_date, push_count, days_averaged)),
    unique_combination_of_columns(columns := (org, push_date))
  )
);

WITH observed AS (
  SELECT org, repo_id, pushed_at::DATE AS push_date, day
  FROM github.repos
  WHERE day BETWEEN @end_date - INTERVAL 12 DAY AND @end_date
),
pushes AS (
  SELECT org, push_date, count(DISTINCT repo_id) AS push_count
  FROM observed
  WHERE push_date >= @end_date - INTERVAL 12 DAY
  GROUP BY org, push_date
),
organisations AS (
  SELECT DISTINCT org FROM observed WHERE day >= @end_date - INTERVAL 6 DAY
),
dates AS (
  SELECT unnest(generate_series(@end_date - INTERVAL 12 DAY, @end_date, INTERVAL 1 DAY))::DATE AS push_date
),
averaged AS (
  SELECT
    organisations.org,
    dates.push_date,
    coalesce(push_count, 0) AS push_count,
    round(avg(coalesce(push_count, 0)) OVER last_days, 2) AS rolling_7d_avg,
    count(*) OVER last_days AS days_averaged
  FROM organisations
  CROSS JOIN dates
  LEFT JOIN pushes ON organisations.org = pushes.org AND dates.push_date = pushes.push_date
  WINDOW last_days AS (PARTITION BY organisations.org ORDER BY dates.push_date ROWS BETWEEN 6 PRECEDING AND CURRENT ROW)
)
SELECT org, push_date, push_count, rolling_7d_avg, days_averaged, @end_date AS day
FROM averaged
WHERE push_date >= @end_date - INTERVAL 6 DAY
