-- staging/pushes: one row per push, and per branch created or deleted, as the newest load describes it.
SELECT
    org,
    id AS push_id,
    repo_id,
    repo_name,
    repo_visibility AS visibility,
    "timestamp" AS pushed_at,
    coalesce(activity_type, 'unknown') AS kind,
    ref,
    ref = 'refs/heads/' || repo_default_branch AS is_default_branch,
    actor ->> '$.login' AS actor,
    coalesce(actor ->> '$.type' = 'Bot' OR ends_with(actor ->> '$.login', '[bot]'), false) AS is_bot,
    observed_at,
    day
FROM github_pushes
QUALIFY row_number() OVER (PARTITION BY day, org, id ORDER BY observed_at DESC, _dlt_load_id DESC) = 1
