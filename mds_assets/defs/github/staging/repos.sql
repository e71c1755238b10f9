-- staging/repos: one row per organisation, repository and day: the day's newest observation.
-- Few repositories are observed several times a day. Only those are ranked; the others stream from file to file.
-- Ranking all takes 3.2 s of CPU instead of 2.4 for 1,000,000 rows, and twice the memory.
WITH several AS (
    SELECT day, org, id FROM github_repos GROUP BY ALL HAVING count(*) > 1
),
newest AS (
    FROM github_repos ANTI JOIN several USING (day, org, id)
    UNION ALL
    FROM github_repos SEMI JOIN several USING (day, org, id)
    QUALIFY row_number() OVER (
        PARTITION BY day, org, id
        ORDER BY greatest(updated_at, pushed_at) DESC, observed_at DESC, _dlt_load_id DESC
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
    greatest(updated_at, pushed_at) AS active_at, -- greatest() passes over nulls
    observed_at,
    day
FROM newest
