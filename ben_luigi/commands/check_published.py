"""`ben-luigi check-published DIR`: compare ids, split, alignment and country of every patch with published metadata.

They are computed from the product names. DIR is a folder with `tile_names_and_links.csv`,
`bigearthnet_s2_tile_ids.csv`, `s1s2_mapping.csv`, `patches_with_seasonal_snow.csv`, `patches_with_cloud_and_shadow.csv`
(each plain or compressed), `ne_110m_admin_0_countries.geojson`, `v1_spatial/` and published `metadata*.parquet`. The
command prints for each column how many published rows there are, and how many are equal. Rows of a UTM zone without v1
geometry are checked for ids, split and country only.

Then it joins the published labels with everything that it computed and with the lists, as the pipeline does, and
reports on standard error whether the rows of both files are equal; with the v1 geometry of every zone, it writes them
with DuckDB and reports the md5 of both. Findings about v1 names are reported there too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from ben_luigi.commands import command
from ben_luigi.commands.arguments import check_published as parser
from ben_luigi.config import TRACKED_ARTIFACTS
from ben_luigi.domain.dataset import recomputed
from ben_luigi.domain.dataset.comparison import read_published
from ben_luigi.domain.errors import PipelineError
from ben_luigi.exit_codes import ExitCode


def main(arguments: Sequence[str]) -> int:
    """Print one JSON object."""
    used = parser()
    options = used.parse_args(arguments)
    try:
        what = "the folder of published metadata, and of what it is made from"
        command.require_folder(options.folder, what, "correct the path", is_given=True)
        columns, findings = recomputed.check(options.folder, read_published(TRACKED_ARTIFACTS / "published.toml"))
    except (PipelineError, OSError) as error:
        return command.refuse(used, error, command.code_of(error))
    for _, words in findings:
        print(words, file=sys.stderr)
    print(json.dumps(columns))
    is_equal = recomputed.all_equal(columns) and all(equal for equal, _ in findings)
    return ExitCode.DONE if is_equal else ExitCode.FINDINGS
