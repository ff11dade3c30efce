"""The packages of the wheel: those below `ben_luigi/`, and `tracked_artifacts/`, which lies beside it in a checkout."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

_FIRST = (
    'import sys; {"ben_luigi", "--module=ben_luigi"} & {*sys.orig_argv} and "luigi" in {'
    'word.rpartition("/")[2] for word in sys.orig_argv} and __import__("runpy").run_path('
    '__import__("importlib.util").util.find_spec("ben_luigi").submodule_search_locations[0]'
    ' + "/configuration/quiet_luigi.py")\n'
)


class _BuildPy(build_py):
    """Add a file that Python runs at its start, as `scripts/environment` writes one into a checkout's environment.

    Plain `luigi --module ben_luigi` reads its configuration before it loads us, and would quote what is wrong in it.
    """

    def run(self):
        if not Path(self.build_lib, "setup.py").exists():  # else the source itself
            shutil.rmtree(Path(self.build_lib, "ben_luigi"), ignore_errors=True)  # what was removed since the last time
        super().run()
        if not self.editable_mode:
            self._first().write_text(_FIRST, encoding="ascii")

    def get_outputs(self, *arguments, **more):
        return [*super().get_outputs(*arguments, **more), *([] if self.editable_mode else [str(self._first())])]

    def _first(self):
        return Path(self.build_lib, "ben_luigi_first.pth")


setup(
    cmdclass={"build_py": _BuildPy},
    packages=[*find_packages(include=["ben_luigi", "ben_luigi.*"]), "ben_luigi.tracked_artifacts"],
    package_dir={"ben_luigi.tracked_artifacts": "tracked_artifacts"},
    package_data={
        "ben_luigi": ["commands/task_table.json", "domain/recipe/spdx_licenses.txt", "domain/report/templates/*"],
        "ben_luigi.tracked_artifacts": ["*.toml", "*.csv", "recipes/*.toml"],
    },
)
