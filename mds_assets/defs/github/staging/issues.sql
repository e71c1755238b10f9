-- staging/issues: one row per issue or pull request and event of the day, as the newest load describes it.
SELECT
    org,
    repo_name,
    repo_full_name,
    number,
    event,
    event_at,
    id AS issue_id,
    coalesce(title, '') AS title,
    "user" ->> '$.login' AS author,
    coalesce("user" ->> '$.type' = 'Bot' OR ends_with("user" ->> '$.login', '[bot]'), false) AS is_bot,
    pull_request IS NOT NULL AS is_pull_request,
    created_at,
    closed_at,
    (pull_request ->> '$.merged_at')::TIMESTAMPTZ AS merged_at,
    comments,
    coalesce(list_transform(from_json(labels, '["JSON"]'), lambda label: label ->> '$.name'), []) AS labels,
    observed_at,
    day
FROM github_issues
QUALIFY row_number() OVER (PARTITION BY day, org, id, event ORDER BY observed_at DESC, _dlt_load_id DESC) = 1
