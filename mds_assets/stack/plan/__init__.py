"""What is missing, what is stale and why, and the fewest runs that mend it: read from the lake's files alone.

`graph` has the tables and how they read each other, `snapshot` what their files say, `states` compares the two,
`runs` puts what is to be made into runs, and `show` prints it.
"""
