# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Memory: where the values of a program are kept
#
# A compiler that runs a network on an accelerator decides three things about memory, each an environment here:
#
# 1. *addresses*: at which offsets buffers lie, so that the peak is small (`StaticAllocation-v0`);
# 2. *residency*: which tensors stay in a small fast memory, in which order the operators run, and what is spilled
#    (`TensorReplacement-v0`);
# 3. *mapping*: which accesses of a given program are served from fast memory, with copies that overlap with
#    computation (`MemoryMap-v0`).
#
# In this notebook every problem is solved by rules, by search and exactly, with bounds beside the results and pictures
# of the plans; then a policy plays one of them, and you train one.

# %%
import os
import subprocess
import sys
from importlib.metadata import version

# Where the package comes from when this notebook runs in Colab: the address of its git repository, or of your fork.
REPO_URL = "https://<host>/<owner>/jaxsched"

if "google.colab" in sys.modules:
    assert "<" not in REPO_URL, "first put the address of the repository into REPO_URL"
    requirement = f"jaxsched[train,viz,solvers] @ git+{REPO_URL}"
    keep = [f"{name}=={version(name)}" for name in ("jax", "jaxlib")]  # the JAX that fits this machine's accelerator
    subprocess.check_call([sys.executable, "-m", "pip", "install", "-q", requirement, *keep])

# Both are read when JAX is imported: take accelerator memory as it is needed, and compile each program only once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/jax"))

QUICK = os.environ.get("JAXSCHED_QUICK") == "1"  # toy sizes, to test that the notebook works

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

import jaxsched
from jaxsched.envs import memory

SECONDS = 1.0 if QUICK else 10.0  # of each search
print(f"jaxsched {jaxsched.__version__}, jax {jax.__version__}")

# %% [markdown]
# ## One network
#
# A U-Net with its backward pass: activations on the way down wait for the way up, and again for the gradients. It is
# plain data, operators and tensors; everything below is made of it.

# %%
network = memory.u_net(np.random.default_rng(5), 2 if QUICK else 4, convolutions=1 if QUICK else 2, backward=True)
graph = memory.Graph.from_dict(network)
print(graph)
for op in network["ops"][:3]:
    print(op)

# %% [markdown]
# ## 1. Addresses
#
# In the order given every tensor is live from the operator that makes it to the last that reads it. Two that are live
# at a common time must not overlap in address. The largest live size is a lower bound on the peak; how close the rules
# come to it depends on the order in which they place the buffers.

# %%
buffers = memory.live_ranges(network)
rules = ["no_reuse", "first_fit_start", "best_fit_duration", "best_fit_size", "xla"]
plans = {name: memory.allocate(buffers, method=name) for name in rules}
plans["search"] = memory.allocate(buffers, method="search", time_limit=SECONDS)
for name, plan in plans.items():
    assert memory.verify(buffers, plan) == []  # an independent judge
    print(f"{name:<18} {plan.peak / plan.lower_bound:.3f} of the lower bound{', optimal' if plan.proved else ''}")

# %%
memory.memory_map_svg(buffers, plans["first_fit_start"], title="first fit in order of time")

# %%
memory.memory_map_svg(buffers, plans["search"], title="search")

# %% [markdown]
# Networks in execution order are easy: XLA's rule is optimal or nearly so. Instances that are hard on purpose look like
# this one. Real files come in as CSV: `memory.read_csv`, or `jaxsched map FILE.csv --capacity 1MiB` on a command line.

# %%
rng = np.random.default_rng(0)
start = np.sort(rng.integers(0, 60, 40 if QUICK else 90))
length = np.where(rng.random(len(start)) < 0.3, rng.integers(1, 40, len(start)), rng.integers(1, 6, len(start)))
hard = memory.Buffers(
    {"id": i, "start": int(s), "end": int(s + n), "size": int(size)}
    for i, (s, n, size) in enumerate(zip(start, length, rng.integers(8, 65, len(start)), strict=True))
)
found = {name: memory.allocate(hard, method=name) for name in (*rules[1:], "first_fit_area")}
found["search"] = memory.allocate(hard, method="search", time_limit=SECONDS)
assert all(memory.verify(hard, plan) == [] for plan in found.values())
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.barh(list(found), [100 * (plan.peak / plan.lower_bound - 1) for plan in found.values()])
axes.invert_yaxis()
axes.set(xlabel="peak above the lower bound, %", title=f"{len(hard)} random buffers")
plt.show()

# %%
memory.memory_map(hard, found["search"])
plt.show()

# %% [markdown]
# ## 2. Residency
#
# Now the memory is small. While an operator runs, its inputs and outputs must be resident; others may stay, or are
# spilled and retrieved later. `M_R` is the largest working set, with less nothing runs; with `M_P`, the smallest peak
# over all orders, nothing need be moved. In between, how many bytes move depends on what is evicted, and on the order.

# %%
part = memory.Graph.from_dict(memory.attention(np.random.default_rng(1), 1, backward=not QUICK))
limits = memory.capacities(part)
print(part, limits)

# %%
belady = memory.replace(part, "M_R", "fixed", "address", "belady")
assert memory.verify(part, belady) == []
memory.replacement_svg(part, belady, title="Belady, order given")

# %% [markdown]
# White triangles are first loads of inputs and weights, which cannot be avoided; black ones retrieve what was evicted,
# red ones spill. Search moves windows of the plan with a constraint solver: the order and the victims change together.

# %%
best = memory.replace(part, "M_R", "free", "address", "search", time_limit=SECONDS)
assert memory.verify(part, best) == []
print(f"{belady.traffic:,} bytes moved by Belady, {best.traffic:,} after search, at least {best.bound:,}")
memory.replacement_svg(part, best, title="search, free order")

# %% [markdown]
# How much memory buys how little traffic, per rule. Without addresses bytes are enough; with addresses holes cost more.

# %%
shares = (0.0, 0.5) if QUICK else (0.0, 0.15, 0.3, 0.5, 0.75)
figure, axes = plt.subplots(1, 2, figsize=(11, 3.4), sharey=True, layout="constrained")
for ax, placement in zip(axes, ("bytes", "address"), strict=True):
    for method in ("belady", "belady_min_peak", "greedy", "search"):
        moved = []
        for share in shares:
            capacity = int(limits.M_R + share * (limits.M_P - limits.M_R))
            plan = memory.replace(part, capacity, "free", placement, method, time_limit=SECONDS / 2)
            assert memory.verify(part, plan) == []
            moved.append(plan.traffic / 2**20)
        ax.plot([100 * share for share in shares], moved, marker="o", label=method)
    ax.set(xlabel="capacity, % of the way from M_R to M_P", title=placement)
axes[0].set_ylabel("MiB moved")
axes[1].legend()
plt.show()

# %% [markdown]
# ## 3. Mapping
#
# In the third problem the order is fixed and the slow memory is directly accessible, only slower. Every access is one
# decision: COPY the value to fast memory before, in time that instructions leave; NOCOPY, use it where it already is;
# or DROP, use the slow copy. The question is that of mallocGame (Wang et al. 2023); the rules are defined here.

# %%
residual = memory.layered(np.random.default_rng(2), 10)  # a network with residual connections
program = memory.graph_program(residual, np.random.default_rng(4), capacity=(45, 50))
print(program)
names = ["all_drop", "greedy", "belady", "msa"]
mapped = {name: memory.map_program(program, f"{name}+drop_backup") for name in (names[1:2] if QUICK else names)}
method = "belady+drop_backup" if QUICK else "search"  # the search compiles several programs
mapped["search"] = memory.map_program(program, method, time_limit=SECONDS)
for name, plan in mapped.items():
    assert memory.verify(program, plan) == []
    print(f"{name:<10} {100 * (1 - plan.latency / plan.baseline):5.1f} % of the time saved")
print(f"no plan saves more than {100 * (1 - mapped['search'].bound / mapped['search'].baseline):.1f} %")

# %%
memory.mapping_svg(program, mapped["search"], title="search")

# %% [markdown]
# Above: blocks of fast memory, dashed while they are copied in, dots are accesses served from there. Below: the ticks
# that instructions supply, and those that copies take. What the plan would cost if copies took the time that is really
# left is counted afterwards.

# %%
late = memory.stalls(program, mapped["search"].actions)
print(f"{late.latency - mapped['search'].latency:,} ticks of stalls on {mapped['search'].latency:,}")
figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
values = [100 * (1 - plan.latency / plan.baseline) for plan in mapped.values()]
axes.barh(list(mapped), values)
axes.axvline(100 * (1 - mapped["search"].bound / mapped["search"].baseline), color="0.3", linestyle="--")
axes.invert_yaxis()
axes.set(xlabel="time saved, % (dashed: no plan saves more)", title=f"{len(program.accesses)} accesses")
plt.show()

# %% [markdown]
# ## 4. Many at once, and a policy
#
# The same problems are environments in JAX: hundreds of instances run in one compiled program, and graph policies see
# buffers and sections, operators and tensors, or values and instructions. Here a rule plays random buffers, and a
# network learns to, for a short while: `jaxsched train StaticAllocation-v0` goes on from there.

# %%
from jaxsched.core import greedy, rollout

env = jaxsched.make("StaticAllocation-v0")
source = memory.random_lives(8 if QUICK else 32)


def peaks(policy, keys):
    """Peak over lower bound of every instance."""

    def one(key):
        result = rollout(env, key, source(key), policy)
        return result.objective / env.lower_bound(result.state.instance)

    return np.asarray(jax.jit(jax.vmap(one))(keys))


keys = jax.random.split(jax.random.key(7), 8 if QUICK else 256)
rule = peaks(greedy(env.heuristics["size"]), keys)
print(f"by size: {rule.mean():.3f} of the lower bound on {len(keys)} instances")

# %% tags=["timing"]
import dataclasses

from jaxsched.policies import greedy_policy
from jaxsched.training import new_run_dir, train
from jaxsched.training.algorithms import from_dict

preset = memory.allocation.PRESETS["smoke" if QUICK else "quick"]
config = dataclasses.replace(from_dict(dict(preset.training)), num_updates=2 if QUICK else 15)
apply, trained = train(env, source, config, run_dir=new_run_dir())

# %%
learnt = peaks(greedy_policy(apply, trained.average), keys)
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.hist([100 * (rule - 1), 100 * (learnt - 1)], bins=12, label=["by size", "policy"])
axes.set(xlabel="peak above the lower bound, %", ylabel="instances")
axes.legend()
plt.show()

# %% [markdown]
# Plans go out as files: offsets as CSV, the others a row per step or access.

# %%
memory.write_csv(buffers, "buffers.csv", plans["search"], overwrite=True)
memory.write_json(part, "graph.json", overwrite=True)
memory.write_plan(part, best, "plan.csv", overwrite=True)
