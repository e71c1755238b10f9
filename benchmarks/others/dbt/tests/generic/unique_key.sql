{% test unique_key(model, columns) %}
SELECT {{ columns | join(", ") }} FROM {{ model }} GROUP BY ALL HAVING count(*) > 1
{% endtest %}
