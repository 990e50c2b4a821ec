"""What is in a file is told by its content, not by its name (issue 16, row 11)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched import cli
from jaxsched.core import InstanceError, UnknownNameError
from jaxsched.envs import memory

ROWS = "id,lower,upper,size\na,0,4,4\nb,2,6,3\n"


@pytest.fixture(scope="module")
def module_text():
    def layer(x, w):
        return jnp.tanh(x @ w) @ w

    return jax.jit(layer).lower(jnp.zeros((8, 8)), jnp.zeros((8, 8))).compile().as_text()


@pytest.mark.parametrize(
    "name", ["m_0001.jit_f.cpu_after_optimizations.txt", "f.hlo", "f.HLO", "f", "f.csv", "f.json"]
)
def test_a_compiled_program_under_any_name(name, module_text, tmp_path):
    file = tmp_path / name
    file.write_text(module_text)
    kinds = {
        None: memory.Program,
        "program": memory.Program,
        "buffers": memory.Buffers,
        "graph": memory.Graph,
    }
    for part, kind in kinds.items():
        assert isinstance(memory.read_problem(file, part), kind)
    with pytest.raises(UnknownNameError, match="unknown part 'buffer'; did you mean buffers"):
        memory.read_problem(file, "buffer")


@pytest.mark.parametrize("name", ["B.CSV", "b.csv", "b.txt", "b", "b.json"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_buffers_under_any_name(name, encoding, tmp_path):
    file = tmp_path / name
    file.write_bytes(ROWS.encode(encoding))
    assert memory.read_problem(file).ids == ("a", "b")
    with pytest.raises(
        ValueError, match=r"--part is of a compiled JAX program; .* is one problem, leave it out"
    ):
        memory.read_problem(file, "graph")


@pytest.mark.parametrize("name", ["G.JSON", "g.json", "g", "g.csv"])
def test_graphs_and_programs_under_any_name(name, tmp_path):
    graph = memory.Graph.from_dict(memory.attention(np.random.default_rng(0), 1))
    for problem in (graph, memory.draw_mapping(0, 60)):
        file = tmp_path / name
        memory.write_json(problem, file, overwrite=True)
        assert memory.read_problem(file).to_dict() == problem.to_dict()


def test_what_is_nothing_of_it_is_refused(tmp_path):
    for content in ("", "{", "[]", "HloModule \n", "a lease\n", "\0\0"):
        file = tmp_path / "x"
        file.write_text(content)
        with pytest.raises(InstanceError):
            memory.read_problem(file)


def test_the_command_line_reads_and_writes_endings_in_capitals(tmp_path, monkeypatch, module_text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "B.CSV").write_text(ROWS)
    (tmp_path / "x_after_optimizations.txt").write_text(module_text)
    assert (
        cli.main(["map", "B.CSV", "--method", "xla", "--out", "P.CSV", "--picture", "P.SVG"]) == 0
    )
    assert memory.read_csv("P.CSV").offset.tolist() == [0, 4]
    assert (tmp_path / "P.SVG").read_text().startswith("<svg")
    assert (
        cli.main(["map", "x_after_optimizations.txt", "--part", "graph", "--method", "belady"]) == 0
    )
