-- staging/repos: one row per organisation and repository a day, the day's newest observation of it.
-- `typed` is read three times, each time with the columns that are needed: kept in memory it would be all of the day.
WITH typed AS NOT MATERIALIZED (
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
        created_at,
        updated_at,
        pushed_at,
        greatest(updated_at, pushed_at) AS active_at, -- greatest() passes over nulls
        observed_at,
        _dlt_load_id AS load_id,
        day,
        row_id
    FROM github_repos
    WHERE id IS NOT NULL AND name <> ''
),
-- Few repositories are observed several times a day. Only these are ranked, so that the others stream from file to file.
several AS (
    SELECT day, org, repo_id FROM typed GROUP BY ALL HAVING count(*) > 1
),
older AS (
    SELECT row_id
    FROM typed
    SEMI JOIN several USING (day, org, repo_id)
    QUALIFY row_number() OVER (
        PARTITION BY day, org, repo_id
        ORDER BY active_at DESC, observed_at DESC, load_id DESC
    ) > 1
)
SELECT * EXCLUDE (load_id, row_id)
FROM typed
ANTI JOIN older USING (row_id)
