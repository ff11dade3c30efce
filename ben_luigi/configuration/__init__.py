"""The configuration: which files it is, how they are read, what may stand in them, and what Luigi is given of it.

`files` reads them tolerantly, with the line of every option. `kinds` are the kinds of options; `ben_luigi.config`
declares the sections by them, with their ranges. `check` holds the files against these and Luigi's own declarations.
`loading` refuses to start, or gives the values to Luigi; `table` makes that of `docs/configuration.md`.
"""

from ben_luigi.configuration import quiet_luigi as quiet_luigi  # before anything imports Luigi
