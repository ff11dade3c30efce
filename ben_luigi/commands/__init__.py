"""The subcommands of `ben-luigi`, a module each, loaded only when it is asked for.

Each has `parser()`, which gives its `argparse.ArgumentParser`, and `main(arguments)`, which gives its exit code.
"""

from __future__ import annotations

COMMANDS = {
    "run": ("run", "make the dataset, or what one task leaves behind"),
    "plan": ("plan", "what a run would do and take, and what is missing for it"),
    "status": ("status", "what is complete, and what failed and why"),
    "verify": ("verify", "whether a finished dataset is whole and fits together"),
    "export": ("export", "unpack the patches of a tile as folders of TIFFs"),
    "render": ("render", "pictures of patches to look at"),
    "subset": ("subset", "make a dataset of chosen patches"),
    "link-patches": ("link_patches", "link the patches in a list into a folder"),
    "hash-folder": ("hash_folder", "list the sha256 of all TIFFs below a folder"),
    "compare-levels": ("compare_levels", "what each zstd level makes of files"),
    "check-published": ("check_published", "compute published metadata anew, and compare"),
    "clear-tries": ("clear_tries", "let tiles that rest after failed downloads be tried again"),
    "install-sen2cor": ("install_sen2cor", "fetch, verify and install Sen2Cor"),
    "cron-rerun": ("cron_rerun", "one run for cron or a timer, that never overlaps with another"),
    "luigid": ("luigid", "the central scheduler, for runs on several hosts"),
    "completion": ("completion", "print a script that completes commands and options in bash or zsh"),
}
"""The module of each command in this package, and the line that `ben-luigi --help` has for it."""
