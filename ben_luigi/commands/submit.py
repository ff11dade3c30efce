"""`ben-luigi submit slurm [--dry-run] [TASK ARGUMENTS...]`: run, with the conversions as jobs of a cluster.

Each conversion by Sen2Cor becomes an element of a Slurm job array, as soon as its L1C product is complete, with the
cores, memory and time of `[slurm]`; a job that is preempted, or whose node fails, is repeated. All else runs here until
the dataset or the given task is complete. luigid and a PostgreSQL server that the nodes reach are needed, as
docs/hosts.md says. --dry-run shows what would be submitted, and submits nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from ben_luigi import config
from ben_luigi.commands import command, run, task_table, usage, world
from ben_luigi.commands.setting_up import configure
from ben_luigi.commands.task_arguments import submit as parser
from ben_luigi.domain.errors import BadArgument, BadName, PipelineError
from ben_luigi.exit_codes import ExitCode
from ben_luigi.stages import jobs


def main(arguments: Sequence[str]) -> int:
    """Submit conversions and run all else; return the exit code."""
    used = parser()
    try:
        options, rest = used.parse_known_args(world.take(arguments))
        configure(writes=not options.dry_run)
        typed = usage.task_of(task_table.named(rest))[1]
    except (BadName, BadArgument) as error:
        return command.refuse(used, task_table.of_program(error, used.prog))
    config.take_typed(typed)
    try:
        jobs.begin(usage.passed_on(typed))
        if options.dry_run:
            print(jobs.described())
            return ExitCode.DONE
    except PipelineError as error:
        return command.refuse(used, error, command.code_of(error))
    print(*jobs.instructions(), sep="\n", flush=True)
    code = run.main(rest, used.prog)
    try:
        print(*jobs.lost(), sep="\n", end="")
    except PipelineError as error:
        print(error)
    return code
