"""The command line. Each command is a function: its arguments are the options, its docstring the
help.

Nothing heavy is imported here, so that `--help` answers at once: JAX comes with the first command
that needs it.
"""

from __future__ import annotations

import atexit
import gc
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from jaxsched.cli.common import EXTRAS, cache_folder, first_sentence, lookup, pip_line
from jaxsched.cli.info import bench, doctor, list_names
from jaxsched.cli.memory import map_file
from jaxsched.cli.solving import draw, evaluate, import_file, solve
from jaxsched.cli.training import train

COMMANDS: dict[str, Callable[..., int | None]] = {
    "list": list_names,
    "doctor": doctor,
    "train": train,
    "evaluate": evaluate,
    "solve": solve,
    "import": import_file,
    "draw": draw,
    "map": map_file,
    "bench": bench,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 2 the user's error, told in one line on
    stderr.
    """
    if argv is None:  # the process is the command's own
        # Modules stay, and tracing makes many objects and little garbage: look for it less often,
        # and not in everything once more at the end.
        gc.set_threshold(1_000_000, 10, 10)
        atexit.register(gc.freeze)
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or bool(os.environ.get("JAXSCHED_DEBUG"))
    if "--no-cache" not in arguments:
        _keep_compiled_programs()
    try:
        return _run([each for each in arguments if each not in ("--debug", "--no-cache")])
    except SystemExit as stop:  # the parser's: help, or an option it cannot read
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug or not _is_users(error):
            raise
        print(f"error: {_message(error)}", file=sys.stderr)
        return 2


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        import jaxsched

        print(f"jaxsched {jaxsched.__version__}")
        return 0
    name, *rest = arguments
    command = lookup("command", name, COMMANDS)
    try:
        import tyro
    except ImportError:
        raise ImportError(f"the command line needs tyro: {pip_line('train')}") from None
    rest = _known_options(name, command, rest)
    return (
        tyro.cli(
            command, prog=f"jaxsched {name}", args=rest, config=(tyro.conf.FlagCreatePairsOff,)
        )
        or 0
    )


def _keep_compiled_programs() -> None:
    """Let JAX keep what it compiles in a folder of the user's cache, unless the user has named one.

    JAX reads these variables when it is imported, so that there is nothing to do where it already
    is.
    """
    if "jax" not in sys.modules and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache_folder())
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


def _overview() -> str:
    lines = [f"  {name:<9} {first_sentence(command)}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: jaxsched COMMAND [OPTIONS]",
            "",
            "Resource scheduling in JAX: train graph policies, compare them with rules and exact solvers.",
            "",
            *lines,
            "",
            "`jaxsched COMMAND --help` shows its options; --debug shows the traceback of an error.",
            f"Compiled programs are kept in {cache_folder()}; --no-cache keeps none.",
        ]
    )


def _known_options(name: str, command: Callable[..., Any], arguments: list[str]) -> list[str]:
    """Refuse options that the command has not; for `train` they are fields of the configuration."""
    known = {option.replace("_", "-") for option in inspect.signature(command).parameters} | {
        "help"
    }
    kept: list[str] = []
    changes: list[str] = []
    into = kept
    for argument in arguments:
        option, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            if into is changes and changes[-1].endswith("="):
                changes[-1] += argument
            elif into is changes:
                raise ValueError(f"one value too many: {argument!r} after --{changes[-1]}")
            else:
                into.append(argument)
        elif option.replace("_", "-") in known:
            into = kept
            into.append(argument)
        elif "config" in known:
            into = changes
            into.append(f"{option}={value}" if equals else f"{option}=")
        else:
            lookup(f"option of {name}", f"--{option}", {f"--{other}": None for other in known})
    return [*kept, "--config", *changes] if changes else kept


def _is_users(error: Exception) -> bool:
    """Whether the message says all that the user needs: unknown names, bad input, files, missing
    extras.
    """
    from jaxsched.host.errors import UnknownNameError

    return isinstance(error, UnknownNameError | ValueError | OSError | ImportError)


def _message(error: Exception) -> str:
    """The error in one line, with the pip line for what an extra would bring."""
    text = (
        "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
        or type(error).__name__
    )
    if isinstance(error, ModuleNotFoundError) and error.name:
        for extra, modules in EXTRAS.items():
            if error.name.partition(".")[0] in modules:
                return f"{text}: {pip_line(extra)}"
    return text
