"""`zqctl completion SHELL`: the script that completes zqctl's command line in bash, zsh or fish.

It is made from the parser itself, so that no command or option can be missing. The values of some arguments are asked of the running
zqd while the user waits, for a second at most and in silence: `zqctl --json` prints a row's keys at a known depth, where sed finds those whose letters mean nothing to a shell. (shtab
does as much for bash and zsh from a parser, but neither fish nor values from a program of several words; it would be one more dependency.)

Called by `zqd.ctl.local`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

from zqd.control.orders import LOG_LEVELS
from zqd.ctl.connection import ExitStatus
from zqd.ctl.local import Session
from zqd.ctl.program import build_parser
from zqd.events import EVENTS

PATIENCE = 1
"""Seconds that zqd has for an answer while somebody waits for a completion."""


class Values(NamedTuple):
    """What may stand for an argument: fixed words, or what zqd says, or files."""

    words: tuple[str, ...] = ()
    asked: tuple[tuple[str, str], ...] = ()
    """A command and the key of its rows in which the word stands."""
    files: bool = False


QUEUES, WORKERS, CLIENTS = ("queues", "name"), ("workers", "id"), ("clients", "id")
VALUES = {
    "queue": Values(asked=(QUEUES,)),
    "target": Values(asked=(QUEUES, WORKERS)),
    "peer": Values(asked=(WORKERS, CLIENTS)),
    "request": Values(asked=(("requests", "id"),)),
    "key": Values(asked=(("config", "key"),)),
    "level": Values(LOG_LEVELS),
    "topic": Values(tuple(EVENTS)),
    **dict.fromkeys(("textfile", "server_key", "curve_secret", "directory"), Values(files=True)),
}
"""By the name of an argument, whichever command has it."""


class Option(NamedTuple):
    """An option of a command."""

    flags: tuple[str, ...]
    help: str
    value: str | None
    """What its value is called; None where it takes none."""
    values: Values


class Command(NamedTuple):
    """A command, or with the name "" what may stand before any."""

    name: str
    help: str
    options: tuple[Option, ...]
    positional: Values


def run(session: Session, args: dict[str, Any]) -> int:
    """Print the script."""
    session.write("".join(f"{line}\n" for line in SHELLS[args["shell"]](commands(build_parser()))))
    return ExitStatus.OK


def commands(parser: argparse.ArgumentParser) -> list[Command]:
    """What the command line knows: first what may stand before the command, then each command."""
    found = [_command("", "", parser)]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            found += [_command(name, helps[name], sub) for name, sub in action.choices.items()]
    return found


def _command(name: str, text: str, parser: argparse.ArgumentParser) -> Command:
    options, positional = [], Values()
    for action in parser._actions:
        values = VALUES.get(action.dest, Values())
        if action.choices is not None:
            values = Values(tuple(map(str, action.choices)))
        if action.option_strings:
            value = None if action.nargs == 0 else str(action.metavar or action.dest.upper())
            options.append(Option(tuple(action.option_strings), action.help or "", value, values))
        elif not isinstance(action, argparse._SubParsersAction):
            positional = values
    return Command(name, text, tuple(options), positional)


# bash -----------------------------------------------------------------------------------------------------------------

_BASH = r"""# bash completion of zqctl, made by `zqctl completion bash`.

_zqctl_ask() { # COMMAND KEY
    local control=()
    [[ $COMP_LINE =~ --control[=\ ]+([^\ ]+) ]] && control=(--control "${BASH_REMATCH[1]}")
    "${COMP_WORDS[0]}" "${control[@]}" --timeout @PATIENCE@ --json "$1" 2>/dev/null </dev/null |
        sed -n 's/^    "'"$2"'": "\([A-Za-z0-9_.-]*\)".*/\1/p'
}

_zqctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command= word words=
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for word in "${COMP_WORDS[@]:1:COMP_CWORD - 1}"; do
        case $word in
        @COMMANDS@) command=$word && break ;;
        esac
    done
    case $command:$prev:$cur in
@VALUES@
@OPTIONS@
@ARGUMENTS@
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _zqctl zqctl"""


def bash(found: list[Command]) -> Iterator[str]:
    """The script for bash, without what only its package bash-completion has."""
    names = [command.name for command in found[1:]]
    values: dict[str, list[str]] = {}  # what completes a value, and after which command and option
    options, arguments = [], []
    for command in found:
        for option in command.options:
            if option.value is not None:
                patterns = [f"{command.name}:{flag}:*" for flag in option.flags]
                values.setdefault(_bash_value(option.values), []).extend(patterns)
        flags = " ".join(flag for option in command.options for flag in option.flags)
        words = _bash_words(command.positional) if command.name else " ".join(names)
        options.append(f'    {command.name}:*:{"-*" if words else "*"}) words="{flags}" ;;')
        if words:
            arguments.append(f'    {command.name}:*:*) words="{words}" ;;')
    script = _BASH.replace("@PATIENCE@", str(PATIENCE)).replace("@COMMANDS@", " | ".join(names))
    after = [f"    {' | '.join(patterns)}) {action} ;;" for action, patterns in values.items()]
    script = script.replace("@VALUES@", "\n".join(after)).replace("@OPTIONS@", "\n".join(options))
    yield script.replace("@ARGUMENTS@", "\n".join(arguments))


def _bash_value(values: Values) -> str:
    if values.files:
        return 'compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return'
    return f'words="{_bash_words(values)}"'


def _bash_words(values: Values) -> str:
    return " ".join([*values.words, *(f"$(_zqctl_ask {command} {key})" for command, key in values.asked)])


# zsh ------------------------------------------------------------------------------------------------------------------

_ZSH = r"""#compdef zqctl
# zsh completion of zqctl, made by `zqctl completion zsh`.

_zqctl_ask() { # COMMAND KEY [COMMAND KEY]
    local -a found
    local given=${(Q)${opt_args[--control]:-$control}}
    while (( $# > 1 )); do
        found+=(${(f)"$($zqctl ${given:+--control} $given --timeout @PATIENCE@ --json $1 2>/dev/null </dev/null |
            sed -n 's/^    "'$2'": "\([A-Za-z0-9_.-]*\)".*/\1/p')"})
        shift 2
    done
    compadd -a found
}

_zqctl() {
    local curcontext=$curcontext context state state_descr line control zqctl=${~${(Q)words[1]}}
    local -A opt_args
    local -a commands=(
@COMMANDS@
    )
    _arguments -C @OPTIONS@ '1: :->command' '*:: :->argument'
    control=$opt_args[--control]
    case $state in
    command) _describe command commands ;;
    argument)
        case $words[1] in
@ARGUMENTS@
        esac
        ;;
    esac
}

if [[ $funcstack[1] == _zqctl ]]; then
    _zqctl "$@"
else
    compdef _zqctl zqctl
fi"""


def zsh(found: list[Command]) -> Iterator[str]:
    """The script for zsh: a file `_zqctl` in $fpath, or to be sourced after compinit."""
    before, *rest = found
    descriptions = [f"        {_quoted(_zsh_escaped(f'{row.name}', ':') + ':' + row.help)}" for row in rest]
    arguments = []
    for command in rest:
        specs = [_zsh_option(option) for option in command.options]
        if command.positional != Values():
            specs.append(_quoted(f"1: :{_zsh_action(command.positional)}"))
        arguments.append(f"        {command.name}) _arguments {' '.join(specs)} ;;")
    script = _ZSH.replace("@PATIENCE@", str(PATIENCE)).replace("@COMMANDS@", "\n".join(descriptions))
    script = script.replace("@OPTIONS@", " ".join(map(_zsh_option, before.options)))
    yield script.replace("@ARGUMENTS@", "\n".join(arguments))


def _zsh_option(option: Option) -> str:
    specs = []
    for flag in option.flags:
        others = f"({' '.join(option.flags)})" if len(option.flags) > 1 else ""
        value = (
            "" if option.value is None else f":{_zsh_escaped(option.value, ':')}:{_zsh_action(option.values)}"
        )
        takes = "=" if option.value is not None else ""
        specs.append(_quoted(f"{others}{flag}{takes}[{_zsh_escaped(option.help, '[]:')}]{value}"))
    return " ".join(specs)


def _zsh_action(values: Values) -> str:
    if values.files:
        return "_files"
    if values.words:
        return f"({' '.join(values.words)})"
    if values.asked:
        return " ".join(["_zqctl_ask", *(f"{command} {key}" for command, key in values.asked)])
    return " "  # something that cannot be completed


def _zsh_escaped(text: str, special: str) -> str:
    return "".join(f"\\{char}" if char in special + "\\" else char for char in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# fish -----------------------------------------------------------------------------------------------------------------

_FISH = r"""# fish completion of zqctl, made by `zqctl completion fish`.

function __zqctl_ask # COMMAND KEY
    set -l words (commandline -opc)
    set -l control (string replace -rf -- '.*--control[= ]+(\S+).*' '$1' "$words")
    set -q control[1]; and set control --control $control[1]
    $words[1] $control --timeout @PATIENCE@ --json $argv[1] 2>/dev/null </dev/null |
        string replace -rf '^    "'$argv[2]'": "([A-Za-z0-9_.-]*)".*' '$1'
end

complete -c zqctl -f"""


def fish(found: list[Command]) -> Iterator[str]:
    """The script for fish."""
    yield _FISH.replace("@PATIENCE@", str(PATIENCE))
    before, *rest = found
    nothing_yet = f"not __fish_seen_subcommand_from {' '.join(row.name for row in rest)}"
    for command in rest:
        yield f"complete -c zqctl -n {_fish_quoted(nothing_yet)} -a {command.name} -d {_fish_quoted(command.help)}"
    for command in (before, *rest):
        condition = f"__fish_seen_subcommand_from {command.name}" if command.name else nothing_yet
        for option in command.options:
            yield f"complete -c zqctl -n {_fish_quoted(condition)} {_fish_option(option)}"
        if command.positional != Values():
            yield f"complete -c zqctl -n {_fish_quoted(condition)} -a {_fish_words(command.positional)}"


def _fish_option(option: Option) -> str:
    parts = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags]
    parts.append(f"-d {_fish_quoted(option.help)}")
    if option.values.files:
        parts.append("-r -F")
    elif option.value is not None:
        parts.append("-x")
        if option.values != Values():
            parts.append(f"-a {_fish_words(option.values)}")
    return " ".join(parts)


def _fish_words(values: Values) -> str:
    return _fish_quoted(
        " ".join([*values.words, *(f"(__zqctl_ask {command} {key})" for command, key in values.asked)])
    )


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
