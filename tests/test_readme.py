"""What the READMEs show works: Python blocks run, and the commands they name exist."""

from __future__ import annotations

import pathlib
import re
import shlex
from collections.abc import Iterator

import pytest

from jaxsched import cli

ROOT = pathlib.Path(__file__).parents[1]
FAMILY_READMES = sorted((ROOT / "jaxsched" / "envs").rglob("README.md"))
READMES = [ROOT / "README.md", *FAMILY_READMES]
SHELL = ("bash", "sh", "shell")

each_readme = pytest.mark.parametrize(
    "path", READMES, ids=lambda path: path.relative_to(ROOT).as_posix()
)


def blocks(text: str, *languages: str) -> list[tuple[int, str]]:
    """(line of the first line, code) of every fenced block whose info string is one of
    `languages`.
    """
    found, language, begin, code = [], None, 0, []
    for number, line in enumerate(text.splitlines(), start=1):
        fence = re.match(r"\s*```(.*)", line)
        if not fence:
            code.append(line)
        elif language is None:
            language, begin, code = fence[1].strip(), number + 1, []
        else:
            if language in languages:
                found.append((begin, "\n".join(code)))
            language = None
    assert language is None, f"the block at line {begin} is not closed"
    return found


def commands(code: str) -> Iterator[list[str]]:
    """Each command of a shell block as words, without prompt, comments and settings such as A=b
    in front.
    """
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if set(word) <= set("();<>|&"):
                if command:
                    yield command
                command = []
            elif command or not re.match(r"\w+=", word):
                command.append(word)


def make_targets(text: str) -> set[str]:
    """Targets of the explicit rules of a Makefile."""
    rules = re.findall(r"^([A-Za-z][\w -]*):(?!=)", text, flags=re.MULTILINE)
    return {target for names in rules for target in names.split()}


def unknown(text: str, targets: set[str], subcommands: set[str]) -> list[str]:
    """One line for each `make X` or `jaxsched X` in the shell blocks of `text` that does not
    exist.
    """
    found = []
    for line, code in blocks(text, *SHELL):
        for program, *words in commands(code):
            name = pathlib.PurePath(program).name
            named = [word for word in words if not word.startswith("-") and "=" not in word]
            if name == "make":
                found += [f"line {line}: make {word}" for word in named if word not in targets]
            elif (
                name == "jaxsched"
                and words
                and not words[0].startswith("-")
                and words[0] not in subcommands
            ):
                found.append(f"line {line}: jaxsched {words[0]}")
    return found


@each_readme
def test_python_blocks_run(
    path: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, code in blocks(path.read_text(encoding="utf-8"), "python"):
        # Blank lines in front: a traceback names the line of the README.
        exec(
            compile("\n" * (line - 1) + code, path.relative_to(ROOT).as_posix(), "exec"), namespace
        )


@each_readme
def test_commands_exist(path: pathlib.Path):
    targets = make_targets((ROOT / "Makefile").read_text(encoding="utf-8"))
    assert unknown(path.read_text(encoding="utf-8"), targets, set(cli.COMMANDS)) == []


@pytest.mark.parametrize("path", FAMILY_READMES, ids=lambda path: path.parent.name)
def test_a_family_shows_code(path: pathlib.Path):
    assert blocks(path.read_text(encoding="utf-8"), "python")


def test_every_family_has_a_readme():
    families = {path.parent for path in (ROOT / "jaxsched" / "envs").rglob("*env.py")}
    assert families
    assert families <= {path.parent for path in FAMILY_READMES}


def test_breaches_are_found():
    text = "\n".join(
        [
            "```bash",
            "git clone it && cd jaxsched && make train # make comment",
            "JAXSCHED_DATA=data .venv/bin/jaxsched evaluate --rule spt; make train PYTHON=python3.13 -k",
            "make tset",
            "$ jaxsched --help | less",
            "jaxsched \\",
            "  tarin --seed 1",
            "```",
            "```python",
            "make nothing",
            "```",
        ]
    )
    targets = make_targets(
        "VAR := a\nBIN = b\n.PHONY: help\ntrain test: x\n\trecipe: no\n$(BIN)/pip:\n"
    )
    assert targets == {"train", "test"}
    assert unknown(text, targets, {"train", "evaluate"}) == [
        "line 2: make tset",
        "line 2: jaxsched tarin",
    ]
    assert blocks(text, "python") == [(10, "make nothing")]
