"""`ben-luigi completion SHELL`: print a script that completes commands, tasks and options in bash or zsh.

For bash: ben-luigi completion bash > ~/.local/share/bash-completion/completions/ben-luigi; for zsh: print it into a
file, and source that file in ~/.zshrc. The script contains all words, so that completing starts no program.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from ben_luigi import program
from ben_luigi.commands import COMMANDS, command, task_table
from ben_luigi.commands.arguments import completion as parser
from ben_luigi.commands.task_arguments import run

_TAKE_TASKS = ("run", "cron-rerun")
_SCRIPT = """\
_ben_luigi() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} words=""
  case "$COMP_CWORD:${{COMP_WORDS[1]-}}:${{COMP_WORDS[2]-}}" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _ben_luigi {program}
"""


def main(arguments: Sequence[str]) -> int:
    """Print the script."""
    shell = parser().parse_args(arguments).shell
    if shell == "zsh":
        print("autoload -U +X bashcompinit && bashcompinit")
    cases = "\n".join(f'    {pattern}) words="{" ".join(words)}" ;;' for pattern, words in _words())
    print(_SCRIPT.format(cases=cases, program=command.PROGRAM), end="")
    return 0


def _words() -> Iterator[tuple[str, list[str]]]:
    """Yield the words that may follow each beginning of the line, as a shell pattern, the most specific one first."""
    yield "1:*", ["--help", "--version", *COMMANDS]
    for name in _TAKE_TASKS:
        yield f"2:{name}:*", ["--help", *task_table.table()["tasks"]]
        for task in task_table.table()["tasks"]:
            yield f"*:{name}:{task}", _options(run([task]))
    for name in COMMANDS:
        yield f"*:{name}:*", _options(program.load(name).parser())


def _options(used: argparse.ArgumentParser) -> list[str]:
    """Return the options by their long names, and the choices of positional arguments."""
    words: list[str] = []
    for action in used._actions:
        words += [option for option in action.option_strings if option.startswith("--")]
        if not action.option_strings and action.choices:
            words += map(str, action.choices)
    return words
