"""`mds why`: from a figure to the answers it came from, by what the files and the declarations say.

`question` reads the command line, `rows` knows which rows come from which, `trace` follows them from table to table,
`answer` adds the state of the file that has the figure, and `show` prints.
"""
