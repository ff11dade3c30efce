"""The subcommands of `ben-luigi`, one module each, loaded only when needed.

Each has `parser()`, which returns its `argparse.ArgumentParser`, and `main(arguments)`, which returns its exit code.
"""

from __future__ import annotations

COMMANDS = {
    "run": ("run", "make the dataset, or the output of one task"),
    "submit": ("submit", "run, with the conversions as jobs of a cluster"),
    "plan": ("plan", "show what a run would do, how long it takes, and what it lacks"),
    "status": ("status", "show what is complete, and what failed and why"),
    "verify": ("verify", "check that a finished dataset is complete and consistent"),
    "new": ("new", "write a recipe to start a dataset of your own from"),
    "export": ("export", "export a finished dataset for training, or the patches of a tile as TIFFs"),
    "unpack": ("unpack", "unpack the archives of a dataset into folders of TIFFs, and count them"),
    "publish": ("publish", "send a finished dataset to Zenodo, Hugging Face or S3"),
    "render": ("render", "make pictures of patches to look at"),
    "view": ("view", "make a page to look at patches of a dataset, or of WebDataset shards"),
    "subset": ("subset", "make a dataset of chosen patches"),
    "link-patches": ("link_patches", "link the patches in a list into a folder"),
    "hash-folder": ("hash_folder", "list the sha256 of all TIFFs below a folder"),
    "compare-levels": ("compare_levels", "measure time and size of each zstd level on your files"),
    "compare-land-cover": ("compare_land_cover", "where maps from the EEA's service and from a GeoPackage differ"),
    "check-published": ("check_published", "recompute published metadata, and compare"),
    "clear-tries": ("clear_tries", "retry tiles at once that rest after failed downloads"),
    "fetch-l2a": ("fetch_l2a", "fetch what is needed of L2A products as ESA made them"),
    "install-sen2cor": ("install_sen2cor", "fetch, verify and install Sen2Cor"),
    "cron-rerun": ("cron_rerun", "run once from cron or a timer, never in parallel with another run"),
    "luigid": ("luigid", "start the central scheduler, for runs on several hosts"),
    "completion": ("completion", "print a script that completes commands and options in bash or zsh"),
}
"""The module of each command in this package, and its line in `ben-luigi --help`."""
