"""The packages of the wheel: those below `ben_luigi/`, and `tracked_artifacts/`, which lies beside it in a checkout."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["ben_luigi", "ben_luigi.*"]), "ben_luigi.tracked_artifacts"],
    package_dir={"ben_luigi.tracked_artifacts": "tracked_artifacts"},
    package_data={
        "ben_luigi": ["commands/task_table.json", "domain/recipe/spdx_licenses.txt", "domain/report/templates/*"],
        "ben_luigi.tracked_artifacts": ["*.toml", "*.csv", "recipes/*.toml"],
    },
)
