"""Compiled JAX programs as problems: operations and lives equal XLA's own, prefetches are
undone, nothing escapes.
"""

from __future__ import annotations

import importlib.util
import os
import random
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from jaxsched.core import InstanceError, UnknownNameError
from jaxsched.envs import memory
from jaxsched.envs.memory.hlo.flow import Flow
from jaxsched.envs.memory.hlo.text import parse


def f32(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def train_step(params, x, y):
    def loss(params):
        h = x
        for w, b in params:
            h = jnp.tanh(h @ w + b)
        return ((h - y) ** 2).mean()

    value, gradient = jax.value_and_grad(loss)(params)
    return value, jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)


def picture(kernel, x):
    y = jax.lax.conv_general_dilated(
        x, kernel, (2, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    order = jnp.argsort(y[:, 0, 0, 0])
    return jnp.maximum(y, 0).sum((1, 2))[order], jax.lax.cond(
        y.sum() > 0, lambda a: a + 1, lambda a: a * 2, y
    )


def attention(w, x):
    q, k, v = (x @ w[i] for i in range(3))
    return jax.grad(lambda x: (jax.nn.softmax(x @ k.T) @ v).sum())(q)


def recurrent(w, x):
    def step(h, x):
        h = jnp.tanh(h @ w + x)
        return h, h

    return jax.lax.scan(step, jnp.zeros((8, 64)), x)


PROGRAMS = {
    "train_step": (
        train_step,
        ([(f32(64, 64), f32(64))] * 3, f32(32, 64), f32(32, 64)),
        {"donate_argnums": 0},
    ),
    "picture": (picture, (f32(3, 3, 4, 8), f32(2, 16, 15, 4)), {}),
    "attention": (attention, (f32(3, 64, 64), f32(32, 64)), {}),
    "recurrent": (recurrent, (f32(64, 64), f32(20, 8, 64)), {}),
}


@pytest.fixture(scope="module")
def compiled():
    """Text of each program."""
    return {
        name: jax.jit(fn, **options).lower(*shapes).compile().as_text()
        for name, (fn, shapes, options) in PROGRAMS.items()
    }


@pytest.mark.parametrize("name", PROGRAMS)
def test_operations_equal_those_that_xla_counts(name):
    fn, shapes, options = PROGRAMS[name]
    report = memory.from_jax(fn, *shapes, **options).report
    rounds = 20 if name == "recurrent" else 1  # XLA counts the body of a loop once
    assert report["operations"] == rounds * report["XLA: operations"] > 0
    assert report["operations not counted"] == report["loops of unknown length, taken as 1"] == []


def test_arguments_may_be_arrays_keys_and_numbers():
    def draw(key, x, scale):
        return x + scale * jax.random.normal(key, x.shape)

    report = memory.from_jax(draw, jax.random.key(0), jnp.zeros((8, 8)), 2.0).report
    # loops of the generator run more than once
    assert report["operations"] >= report["XLA: operations"] > 8 * 8
    jitted = memory.from_jax(jax.jit(draw), jax.random.key(0), jnp.zeros((8, 8)), 2.0).report
    assert jitted == report


def test_temporaries_take_what_xla_gives_them():
    fn, shapes, options = PROGRAMS["train_step"]
    found = memory.from_jax(fn, *shapes, **options)
    assert (
        0.9
        < found.report["bytes of temporaries, most live"] / found.report["XLA: temp bytes"]
        < 1.1
    )


DUMP = """
import jax
from tests.envs.memory.test_hlo import PROGRAMS
for name in ("train_step", "attention"):
    fn, shapes, options = PROGRAMS[name]
    jax.jit(fn, **options).lower(*shapes).compile()
"""


def test_lives_are_those_that_xla_dumps(tmp_path):
    """Of every value but what is given: XLA ends constants at their last use."""
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={tmp_path} --xla_dump_hlo_as_text",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
    }
    subprocess.run([sys.executable, "-c", DUMP], check=True, env=environment)
    checked = 0
    for name in ("train_step", "attention"):
        (path,) = tmp_path.glob(f"*jit_{name}.cpu_after_optimizations-live-range.txt")
        text = path.read_text()
        position = {
            instruction: int(i)
            for i, instruction in re.findall(r"^    (\d+):(\S+)$", text, re.MULTILINE)
        }
        theirs = {
            v: (int(a), int(b))
            for v, a, b in re.findall(r"^    (\S+)\{\}:(\d+)-(\d+)$", text, re.MULTILINE)
        }
        flow = Flow(parse(path.with_name(path.name.replace("-live-range", "")).read_text()))
        kernels = [position[kernel.instruction.name] for kernel in flow.kernels]
        for value, (start, end) in flow.lives().items():
            if value not in flow.given:
                last = len(position) if value in flow.returned else kernels[end - 1]
                assert theirs[flow.name[value]] == (kernels[start], last), flow.name[value]
                checked += 1
        donated = {flow.name[value]: kernels[flow.lives()[value][1] - 1] for value in flow.donated}
        assert {name: theirs[name][1] for name in donated} == donated
    assert checked > 20


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_three_problems_are_whole(name, compiled, tmp_path):
    found = memory.from_hlo(compiled[name], capacity=64 * 2**10)
    for problem in (found.program, found.graph):
        memory.write_json(problem, tmp_path / "problem.json", overwrite=True)
        assert memory.read_json(tmp_path / "problem.json").to_dict() == problem.to_dict()
    steps = memory.replay_program(found.program, [2] * len(found.program.accesses))
    assert all(2 in step.legal and step.reward == 0 for step in steps)
    capacity = found.graph.largest_working_set()
    assert (
        memory.verify(
            found.graph, memory.replace(found.graph, capacity, "fixed", "bytes", "belady")
        )
        == []
    )
    assert (
        memory.verify(found.buffers, memory.allocate(found.buffers, method="best_fit_size")) == []
    )
    size = {row["id"]: row["size"] for row in found.program.to_dict()["values"]}
    accesses = [
        a["value"] for row in found.program.to_dict()["instructions"] for a in row["accesses"]
    ]
    surplus = sum(map(size.__getitem__, accesses)) - found.report["bytes of accesses"]
    assert 0 <= surplus < 512 * len(accesses)
    assert all(bytes_ % 512 == 0 for bytes_ in size.values())


def test_the_state_of_a_loop_stays_in_its_place(compiled):
    program = memory.from_hlo(compiled["recurrent"]).program.to_dict()
    (loop,) = [
        row
        for row in program["instructions"]
        if any("alias" in access for access in row["accesses"])
    ]
    groups = {}
    for access in loop["accesses"]:
        if "alias" in access:
            groups.setdefault(access["alias"], []).append(access["kind"])
    assert set(map(tuple, groups.values())) == {("read", "write")}
    size = {row["id"]: row["size"] for row in program["values"]}
    only_read = sorted(
        size[access["value"]] for access in loop["accesses"] if "alias" not in access
    )
    assert only_read == [4 * 64 * 64, 4 * 20 * 8 * 64]  # the weights, and what is scanned


HEAD = "HloModule m, is_scheduled=true, entry_computation_layout={(f32[8]{0})->f32[8]{0}}\n\n"
PREFETCHED = (
    HEAD
    + """%add.1 (a: f32[8], b: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %b = f32[8]{0} parameter(1)
  ROOT %sum = f32[8]{0} add(%a, %b)
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %p = f32[8]{0:T(128)} parameter(0)
  %copy-start = (f32[8]{0:T(128)S(1)}, f32[8]{0:T(128)}, u32[]{:S(2)}) copy-start(%p), cross_program_prefetch_index=0
  %slice-start = ((f32[8]{0}), f32[4]{0:S(1)}, s32[]{:S(2)}) slice-start(%p), slice={[0:4]}
  %slice-start.1 = ((f32[8]{0}), f32[4]{0:S(1)}, s32[]{:S(2)}) slice-start(%p), slice={[4:8]}
  %copy-done = f32[8]{0:T(128)S(1)} copy-done(%copy-start)
  %slice-done = f32[4]{0:S(1)} slice-done(%slice-start)
  %slice-done.1 = f32[4]{0:S(1)} slice-done(%slice-start.1)
  %whole = f32[8]{0:S(1)} custom-call(%slice-done, /*index=1*/%slice-done.1), custom_call_target="ConcatBitcast"
  %async-start = ((f32[8]{0}, f32[8]{0}), f32[8]{0}, u32[]) async-start(%copy-done, %whole), calls=%add.1
  %async-done = f32[8]{0} async-done(%async-start)
  ROOT %last = f32[8]{0} negate(%async-done)
}
"""
)


def test_prefetches_of_the_compiler_are_undone():
    """They are what is to be decided."""
    found = memory.from_hlo(PREFETCHED)
    assert [(op["id"], op["inputs"], op["outputs"]) for op in found.graph.to_dict()["ops"]] == [
        ("async-start", ["p"], ["async-start[1]"]),
        ("last", ["async-start[1]"], ["last"]),
    ]
    assert found.report["operations"] == 16
    values = {
        row["id"]: (row["size"], row["input"], row["output"])
        for row in found.program.to_dict()["values"]
    }
    assert values == {
        "p": (512, True, False),
        "async-start[1]": (512, False, False),
        "last": (512, False, True),
    }


# ---------------------------------------------------------------------------------------- bad input


def entry(*lines: str) -> str:
    return HEAD + "ENTRY %main (p: f32[8]) -> f32[8] {\n" + "\n".join(lines) + "\n}\n"


P = "  %p = f32[8]{0} parameter(0)"
ONE = entry(P, "  ROOT %n = f32[8]{0} negate(%p)")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "1: no HloModule"),
        ("HloModule m\n", "1: the module is not scheduled"),
        (HEAD, "no ENTRY computation"),
        (HEAD + "ENTRY %main (p: f32[8]) -> f32[8] {\n" + P, "ends before the module does"),
        (entry(P), "computation 'main' has no ROOT"),
        (entry(P, "  ROOT %p = f32[8]{0} negate(%p)"), "two instructions of one name"),
        (ONE + ONE.removeprefix(HEAD), "a second computation 'main'"),
        (entry(P, "  what"), "5: not an instruction"),
        (entry(P, "  ROOT %n = f32[8]{0} negate(%q)"), "5: operand 'q' is not defined before"),
        (entry(P, "  ROOT %n = f32[8]{0} negate(%p"), "5: a bracket is not closed"),
        (entry(P, "  ROOT %n = f32[8]"), "5: no operands behind the type"),
        (entry(P, "  ROOT %n = word[8] negate(%p)"), "5: unknown element type 'word'"),
        (entry(P, "  ROOT %n = f32[" + "9" * 30 + "] negate(%p)"), "5: not a shape"),
        (
            entry(P, "  ROOT %n = " + "(" * 80 + ")" * 80 + " negate(%p)"),
            "5: tuples nested beyond 64",
        ),
        (
            entry(P, "  ROOT %n = f32[8]{0} get-tuple-element(%p), index=0"),
            "5: get-tuple-element takes an element",
        ),
        (
            entry(P, "  ROOT %n = (f32[8]) tuple(%p, %p)"),
            "5: tuple is not of the type of its operands",
        ),
        (
            entry(P, "  ROOT %n = f32[8] fusion(%p), calls=%gone"),
            "computation 'gone' is called and not there",
        ),
        (entry(P, "  ROOT %n = f32[8] reduce(%p, %p)"), "5: reduce lacks an attribute"),
        (entry(P, "  ROOT %n = f32[8] convolution(%p, %p)"), "5: a convolution whose dim_labels"),
        (
            entry(P, "  ROOT %n = f32[8] while(%p), body=%b"),
            "5: a loop whose state is not the tuple",
        ),
        (entry(P.replace("%p", "ROOT %p")), "no kernel makes a value"),
        (entry(P, "  ROOT %n = f32[8] call(%p), to_apply=%main"), "beyond 64 deep"),
    ],
)
def test_malformed_texts_are_refused_with_their_line(text, reason):
    with pytest.raises(InstanceError) as error:
        memory.from_hlo(text)
    assert reason in str(error.value)
    assert len(str(error.value)) < 200


def test_shared_tuples_do_not_grow_beyond_the_text():
    """40 tuples of a tuple twice would be 2**40 values."""
    lines = [P, "  %t0 = (f32[8]) tuple(%p)"]
    lines += [f"  %t{i + 1} = (f32[8]) tuple(%t{i}, %t{i})" for i in range(40)]
    with pytest.raises(InstanceError, match="not of the type"):
        memory.from_hlo(entry(*lines, "  ROOT %n = (f32[8]) negate(%t40)"))


def test_a_huge_convolution_is_counted_at_once():
    text = entry(
        "  %x = f32[1,4000000000,1] parameter(0)",
        "  %k = f32[3,1,1] parameter(1)",
        "  ROOT %y = f32[1,4000000000,1] convolution(%x, %k), window={size=3 pad=1_1}, dim_labels=b0f_0io->b0f",
    )
    assert memory.from_hlo(text).report["operations"] == 24_000_000_000


@pytest.mark.parametrize("name", [*PROGRAMS, "prefetched"])
def test_nothing_but_an_instance_error_escapes(name, compiled):
    text, rng = (compiled | {"prefetched": PREFETCHED})[name], random.Random(0)
    start = text.index("ENTRY")
    refused = 0
    for _ in range(150):
        at = rng.randrange(start if rng.random() < 0.7 else 0, len(text))
        length = rng.choice([1, 3, 20])
        put = rng.choice(["", "(", ")", "{", "}", "%", "9", ",", " ", "while", "[", "é"])
        try:
            memory.from_hlo(text[:at] + put + text[at + length :])
        except InstanceError:
            refused += 1
    assert refused > 20


def test_names_are_known():
    with pytest.raises(UnknownNameError, match="unknown machine"):
        memory.from_hlo(PREFETCHED, machine="tpu-v5")
    with pytest.raises(UnknownNameError, match="unknown target"):
        memory.from_jax(jnp.sin, f32(8), target="tpu")


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is not None, reason="the TPU compiler is installed"
)
def test_a_missing_compiler_is_named():
    with pytest.raises(
        ImportError, match=r'target .tpu-v5e. needs its compiler: pip install "jax\[tpu\]"'
    ):
        memory.from_jax(jnp.sin, f32(8), target="tpu-v5e")


def test_files_and_the_command_line(compiled, tmp_path, capsys):
    from jaxsched.cli import main

    path = tmp_path / "step.hlo"
    path.write_text(compiled["train_step"])
    assert len(memory.read_hlo(path, capacity=2**16).program.compute) > 5
    assert main(["map", str(path), "--part", "buffers", "--method", "best_fit_size"]) == 0
    assert "best_fit_size" in capsys.readouterr().out
    buffers = tmp_path / "buffers.csv"
    assert main(["map", str(buffers), "--example", "buffers"]) == 0
    assert main(["map", str(buffers), "--part", "graph"]) == 2
    assert "--part is of a compiled JAX program" in capsys.readouterr().err
    path.write_text(compiled["train_step"].replace("ROOT", "RO0T"))
    assert main(["map", str(path)]) == 2
    assert f"error: {path}:" in capsys.readouterr().err
