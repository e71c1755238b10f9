"""Reports: a page a day for people, made of the marts; a module and its `.j2` template a report."""
