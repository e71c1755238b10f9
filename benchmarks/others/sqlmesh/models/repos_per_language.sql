MODEL (
  name github.repos_per_language,
  kind INCREMENTAL_BY_TIME_RANGE (time_column day, batch_size 1),
  cron '@daily',
  audits (
    not_null(columns := (org, language, repo_count)),
    unique_combination_of_columns(columns := (org, language))
  )
);

WITH newest AS (
  SELECT
    org,
    repo_id,
    arg_max(language, day) AS language,
    arg_max(stars, day) AS stars,
    arg_max(forks, day) AS forks
  FROM github.repos
  WHERE day BETWEEN @end_date - INTERVAL 6 DAY AND @end_date
  GROUP BY org, repo_id
)
SELECT
  org,
  language,
  count(*) AS repo_count,
  round(avg(stars), 1) AS avg_stars,
  round(avg(forks), 1) AS avg_forks,
  @end_date AS day
FROM newest
GROUP BY org, language
