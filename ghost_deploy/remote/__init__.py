"""Commands on boards at the other end of an SSH line.

`BoardSession` holds one board: it connects, installs, sends, runs and fetches. `supervise`,
`board_facts`, `board_files` and `hold_lock` run on the board, with its Python and nothing
installed: they import the standard library alone.
"""
