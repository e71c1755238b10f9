-- staging/stars: one row per repository and date, as the newest load counts it: stars that were given back are gone.
SELECT
    org,
    repo_id,
    repo_name,
    repo_visibility AS visibility,
    "date",
    gained,
    observed_at,
    day
FROM github_stars
QUALIFY row_number() OVER (PARTITION BY day, org, repo_id ORDER BY observed_at DESC, _dlt_load_id DESC) = 1
