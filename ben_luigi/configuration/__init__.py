"""Find, read and check the configuration, and pass it on to Luigi.

`files` reads the files tolerantly, with the line of every option. `kinds` are the kinds of options; `sections`
declares the sections with them, and their ranges. `check` compares the files with these declarations and with Luigi's.
`loading` refuses to start, or passes the values to Luigi; `table` makes the one in `docs/configuration.md`.
"""

from ben_luigi.configuration import quiet_luigi as quiet_luigi  # before anything imports Luigi
