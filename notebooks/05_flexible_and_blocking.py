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
# # Two harder job shops: a choice of machines, and no room between them
#
# In the classic job shop every operation has one machine, and a job that waits stands in a buffer. Take away the first,
# and a decision is a pair of a job and a machine: the flexible job shop. Take away the buffers, and a job that waits
# blocks its machine: the blocking job shop, where jobs may have to swap places, or get stuck for ever. In this notebook
# you
#
# 1. choose pairs in a flexible shop, by rules, by a trained policy and by a constraint solver,
# 2. see what buffers are worth, and what a swap is,
# 3. run into a deadlock, have it explained, and avoid it,
# 4. let machines fail, in the same world for every method,
# 5. and compare rules with a trained policy as failures get more frequent.

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
import functools
import re
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

import jaxsched
from jaxsched import evaluation
from jaxsched.core import Infeasible
from jaxsched.envs import job_shop
from jaxsched.envs.job_shop import blocking, flexible
from jaxsched.policies import greedy_policy, sampling_policy
from jaxsched.policies.io import load_policy

print(f"jaxsched {jaxsched.__version__}, jax {jax.__version__}")

# %% [markdown]
# ## 1. A choice of machines
#
# Ten jobs of five to seven operations on six machines, each operation on one to three of them, durations 1 to 7: the
# size and the spirit of Brandimarte's mk01 (1993). The published sets themselves are read from the folder
# `JAXSCHED_DATA` (`flexible.load("mk01")`), or from .fjs files, the format of the field.

# %%
jobs, machines = (4, 3) if QUICK else (10, 6)
source = flexible.uniform(jobs, machines, ops=(3, 4) if QUICK else (5, 7), alternatives=(1, 3), low=1, high=7)
shops = evaluation.generate(source, 1 if QUICK else 32, seed=0)
shop = shops["generated-0"]
flexible.write_fjs(shop, "shop.fjs", overwrite=True)
print(*Path("shop.fjs").read_text().splitlines()[:3], sep="\n")

first = np.where(shop.eligible_mask[:, 0], shop.duration[:, 0].astype(float), np.nan)
figure, axes = plt.subplots(figsize=(6, 2.8), layout="constrained")
axes.imshow(first.T, cmap="viridis_r", vmin=0, vmax=8, aspect="auto")
for (job, machine), value in np.ndenumerate(first):
    if not np.isnan(value):
        axes.text(job, machine, f"{value:.0f}", ha="center", va="center", color="white" if value > 4 else "black")
axes.set_xticks(range(jobs))
axes.set_yticks(range(machines), [f"M{machine}" for machine in range(machines)])
axes.set(xlabel="job", title="the first decision: every number is a legal pair, and its duration")
plt.show()

# %% [markdown]
# A priority rule needs two parts: which job, and which of its machines. Here the machine rule is always the same, the
# pair that ends first. `mwkr` takes the job with most work left, `mor` with most operations left, `fifo` the one ready
# first, `spt` the shortest pair. Rules play without unforced idleness (`non_delay`), the policy may take any pair. It
# was trained by PPO for 24 minutes on two cores, on shops of other sizes. The constraint solver CP-SAT gets ten seconds
# for the first shop.

# %%
rules = ["mwkr"] if QUICK else ["fifo", "spt", "mor", "mwkr", "est"]
no_delay, any_pair = jaxsched.make("FlexibleJobShop-v0", candidates="non_delay"), jaxsched.make("FlexibleJobShop-v0")
apply, params = load_policy("standard", any_pair)
reports = {rule: evaluation.evaluate(no_delay, shops, rule) for rule in rules}
greedy = functools.partial(greedy_policy, apply)
reports["policy"] = evaluation.evaluate(any_pair, shops, greedy, params=params)
if not QUICK:
    sampling = functools.partial(sampling_policy, apply, temperature=1.0)
    reports["policy, best of 32"] = evaluation.evaluate(any_pair, shops, sampling, params=params, samples=32)

bound = np.array([row.lower_bound for row in reports["policy"].rows])
over = {name: 100 * (np.array([row.objective for row in report.rows]) / bound - 1) for name, report in reports.items()}
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.boxplot(list(over.values()), tick_labels=[name.replace(", ", ",\n") for name in over], showmeans=True)
axes.set(ylabel="makespan over its lower bound, %", title=f"{len(shops)} flexible shops of {jobs} jobs")
plt.show()
print({name: f"{values.mean():.1f} %" for name, values in over.items()})

# %%
exact = flexible.solve_exact(shop, time_limit=0.2 if QUICK else 10)
first_shop = {name: report["generated-0"].objective for name, report in reports.items()}
print(first_shop | {"CP-SAT": exact.objective, "CP-SAT's bound": exact.bound})
flexible.gantt_svg(shop, exact.schedule, title="CP-SAT")

# %%
flexible.gantt_svg(shop, reports["policy"]["generated-0"].solution, title="the policy, greedy")

# %% [markdown]
# ## 2. What buffers are worth
#
# The 6 x 6 shop of Fisher and Thompson (1963), three times: with buffers; without, but jobs that stand in a circle,
# each on the machine that the next one needs, may swap; without swaps, too. Every restriction costs time. Hatched: the
# job is done there, but its next machine is taken, so it blocks the one it stands on.

# %%
ft06, limit = blocking.load("ft06"), 0.3 if QUICK else 30
with_buffers = job_shop.solve_exact(job_shop.load("ft06"), time_limit=limit)
with_swaps = blocking.solve_exact(ft06, swap=True, time_limit=limit)
without_swaps = blocking.solve_exact(ft06, swap=False, time_limit=limit)
for name, found in {"buffers": with_buffers, "swaps": with_swaps, "no swaps": without_swaps}.items():
    print(f"{name:<9} {found.objective}" + ("" if found.proved else f" (bound {found.bound})"))
job_shop.gantt_svg(job_shop.load("ft06"), with_buffers.schedule, title="with buffers")

# %%
blocking.gantt_svg(ft06, with_swaps.schedule, title="no buffers, swaps")

# %%
blocking.gantt_svg(ft06, without_swaps.schedule, title="no buffers, no swaps")

# %% [markdown]
# ## 3. A deadlock
#
# With swaps a shop cannot get stuck: where no job can go on, some of them form a circle. Without, a circle is the end.
# A rule that does not look ahead runs into one on most shops, and the error says which.

# %%
try:
    blocking.dispatch(ft06, "mtwr", swap=False)
except Infeasible as error:
    message = str(error)
print(message)

# %%
found = re.findall(r"job (\d+) holds machine (\d+) and needs machine (\d+)", message)
circle = [tuple(map(int, row)) for row in found]
figure, axes = plt.subplots(figsize=(4.2, 4.2), layout="constrained")
place = {}
for i, (job, held, _) in enumerate(circle):
    for node, turn in ((f"M{held}", 2 * i), (f"job {job}", 2 * i + 1)):
        angle = np.pi / 2 - np.pi * turn / len(circle)
        place[node] = np.cos(angle), np.sin(angle)
for job, held, needed in circle:
    for tail, head, color in ((f"M{held}", f"job {job}", "0.6"), (f"job {job}", f"M{needed}", "C3")):
        arrow = {"arrowstyle": "->", "color": color, "lw": 2, "shrinkA": 24, "shrinkB": 24}
        axes.annotate("", place[head], place[tail], arrowprops=arrow)
for node, at in place.items():
    shape = {"boxstyle": "round" if node[0] == "j" else "square", "facecolor": "white"}
    axes.text(*at, node, ha="center", va="center", bbox=shape)
axes.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), title="who holds (grey), who needs (red)")
axes.axis("off")
plt.show()

# %% [markdown]
# A look-ahead (the banker's algorithm of Dijkstra) excludes moves after which the jobs in the shop could no longer
# leave one after the other. With it the same rule gets through, but slowly: some of these moves would have been safe.

# %%
safe = blocking.dispatch(ft06, "mtwr", swap=False, lookahead=True)
blocking.gantt_svg(ft06, safe, title="MTWR with a look-ahead, no swaps")

# %% [markdown]
# ## 4. Machines that fail
#
# A machine fails with probability p during each operation, at a random moment, and is repaired for a random time; then
# the operation goes on. The draws belong to the instance, addressed by machine and by how many operations it began
# before, so every method meets the same world. Grey: the machine is down. Known maintenance windows are given as
# `blocking.Interruptions(windows=[(machine, start, end)])`.

# %%
env = jaxsched.make("BlockingJobShop-v0")
apply, params = load_policy("standard", env)
policy = functools.partial(greedy_policy, apply)
world = {"ft06": blocking.interrupt(ft06, blocking.Interruptions(0.2), jax.random.key(3))}
by_rule = evaluation.evaluate(env, world, "mtwr")["ft06"]
by_policy = evaluation.evaluate(env, world, policy, params=params)["ft06"]
blocking.gantt_svg(world["ft06"], by_rule.solution, title="MTWR, p = 0.2")

# %%
blocking.gantt_svg(world["ft06"], by_policy.solution, title="the policy in the same world")

# %% [markdown]
# ## 5. Rules and a policy as failures get more frequent
#
# Random shops, the same ones at every p; a machine that fails at one p fails there at every higher one, too. The policy
# was trained by PPO on 8 x 8 shops for ten minutes. Every schedule passes an independent validator that draws the
# failures again.

# %%
size, num_worlds = (6, 1) if QUICK else (10, 64)
chances = (0.0, 0.2) if QUICK else (0.0, 0.05, 0.1, 0.2)
rules = ["mtwr"] if QUICK else ["mtwr", "spt", "fifo", "lor", "random"]
curves = {name: [] for name in (*rules, "policy")}
for chance in chances:
    worlds = evaluation.generate(blocking.interrupted(job_shop.uniform(size, size), chance), num_worlds, seed=1)
    for rule in rules:
        curves[rule].append([row.objective for row in evaluation.evaluate(env, worlds, rule).rows])
    curves["policy"].append([row.objective for row in evaluation.evaluate(env, worlds, policy, params=params).rows])
makespan = {name: np.array(rows, float) for name, rows in curves.items()}  # [p, world]

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained")
for name, rows in makespan.items():
    left.plot(chances, rows.mean(1), marker="o", label=name, linewidth=2.5 if name == "policy" else 1.2)
left.set(xlabel="p", ylabel="mean makespan", title=f"{num_worlds} shops of {size} x {size}")
left.legend()
change = 100 * (makespan["policy"] / makespan["mtwr"] - 1)
right.boxplot(list(change), tick_labels=list(map(str, chances)), showmeans=True)
right.axhline(0, color="0.5", linewidth=1)
right.set(xlabel="p", ylabel="policy over MTWR, %", title="world by world; below 0 the policy is faster")
plt.show()
for p, ours, theirs in zip(chances, makespan["policy"], makespan["mtwr"], strict=True):
    print(f"p = {p}: {100 * (ours.mean() / theirs.mean() - 1):+.1f} %")

# %% [markdown]
# The same from the command line: `jaxsched train BlockingJobShop-v0`, `jaxsched evaluate --env BlockingJobShop-v0
# --instances generated:200 --rule mtwr`, and the whole tables by `benchmarks/flexible.py` and `benchmarks/blocking.py`.
