"""`ben-luigi fetch-l2a FOLDER NAME...`: fetch what is needed of L2A products as ESA made them, for `[inputs] l2a_dir`.

Of each product come the twelve bands, the scene classification and the metadata, about half of it, from the sources of
`[sources] order`: each file from the first source that has it whole, proven by the product's manifest. What is there is
not fetched again.
"""

from __future__ import annotations

from collections.abc import Sequence

from ben_luigi import config
from ben_luigi.commands import command
from ben_luigi.commands.arguments import fetch_l2a as parser
from ben_luigi.commands.setting_up import configure
from ben_luigi.domain import given
from ben_luigi.domain.errors import BadArgument, BadName, PipelineError
from ben_luigi.domain.names import ProductName
from ben_luigi.domain.sources import proof
from ben_luigi.exit_codes import ExitCode
from ben_luigi.stages.fetching import fetch_l2a


def _l2a(name: str) -> ProductName:
    product = ProductName.parse(name if name.endswith(".SAFE") else f"{name}.SAFE")
    if product.level != "L2A":
        raise BadName(
            f"product {product}",
            expected="the name of an L2A product, S2x_MSIL2A_...",
            found=f"one of {product.level}",
            remedy="name the L2A product; L1C products are fetched by ben-luigi run",
        )
    return product


def main(arguments: Sequence[str]) -> int:
    """Fetch one after the other, and say of each where it came from; what cannot be had stops no other."""
    used = parser()
    options = used.parse_args(arguments)
    try:
        products = [_l2a(name) for name in options.names]
    except BadName as error:
        return command.refuse(used, error)
    configure()
    config.set_defaults()
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        expected, remedy = "a folder, or a place where one can be made", "name another FOLDER"
        found = given.kind(options.folder)
        return command.refuse(used, BadArgument(options.folder, expected=expected, found=found, remedy=remedy))
    except OSError as error:
        return command.refuse(used, error, command.code_of(error))
    code = ExitCode.DONE
    for product in products:
        if (options.folder / product.stem).is_dir():
            print(f"{product}: it is there")
            continue
        try:
            report = fetch_l2a(product, options.folder.absolute())
        except PipelineError as error:
            command.refuse(used, error)
            code = ExitCode.FAILED
            continue
        rungs = proof.summary(one.proof for one in report.files).items()
        print(
            f"{product}: {len(report.files)} files from {report.source}, {', '.join(f'{n} by {r}' for r, n in rungs)}"
        )
    return code
