-- staging/inventory: every repository that the day's newest inventory of its organisation lists.
WITH newest_listing AS (
    FROM github_inventory
    QUALIFY observed_at = max(observed_at) OVER (PARTITION BY day, org)
        AND row_number() OVER (PARTITION BY day, org, id ORDER BY observed_at DESC, _dlt_load_id DESC) = 1
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
    greatest(updated_at, pushed_at) AS active_at, -- greatest() passes over nulls
    observed_at,
    day
FROM newest_listing
