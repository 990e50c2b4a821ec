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
# # Systems on chip: streams of task graphs on unequal processors
#
# A system on chip (SoC) runs jobs that arrive one after the other. Each job is a graph of tasks, its processing
# elements (PEs) differ, and data take time from one to another. A scheduler gives every ready task a PE. In this
# notebook you
#
# 1. look at a job and a platform,
# 2. schedule one job by list scheduling, and prove what the optimum is,
# 3. run streams under the run-time schedulers of the literature,
# 4. compare them on hundreds of streams in one compiled call,
# 5. play a trained policy against the best of them, in the same worlds, with and without noise,
# 6. train one of your own, and take a trace to a viewer.
#
# The setting is that of SoCRATES (Sung et al. 2021): three PEs, graphs of ten tasks, links of one unit of data per
# microsecond.

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
from jaxsched import evaluation
from jaxsched.envs import soc

print(f"jaxsched {jaxsched.__version__}, jax {jax.__version__}")

# %% [markdown]
# ## 1. A job and a platform
#
# Numbers on the arrows are volumes of data: between different PEs each unit takes a microsecond, on one PE almost
# nothing does. That is as much as the tasks themselves take, so that spreading a job over the PEs may cost more than it
# saves.

# %%
platform, job = soc.load_platform("socrates_top"), soc.load_job("socrates_top1")
depth = [0] * len(job.tasks)
for before, after, _ in sorted(job.edges):
    depth[after] = max(depth[after], depth[before] + 1)
column = {level: [task for task in range(len(depth)) if depth[task] == level] for level in set(depth)}
place = {task: (level, i - (len(tasks) - 1) / 2) for level, tasks in column.items() for i, task in enumerate(tasks)}

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), width_ratios=(3, 2), layout="constrained")
for before, after, volume in job.edges:
    arrow = {"arrowstyle": "->", "color": "0.6", "shrinkA": 11, "shrinkB": 11}
    left.annotate("", place[after], place[before], arrowprops=arrow)
    at = 0.68 * np.array(place[before]) + 0.32 * np.array(place[after])
    left.text(*at, str(volume), fontsize=8, ha="center", va="center", backgroundcolor="white")
left.scatter(*zip(*place.values(), strict=True), s=420, color="C0", zorder=2)
for task, at in place.items():
    left.text(*at, str(task), color="white", ha="center", va="center")
left.set_title(f"{job.name}: tasks and volumes")
left.margins(0.12)
left.axis("off")
times = np.array([platform.exec_time[name] for name in job.tasks], float)
image = right.imshow(times.T, cmap="viridis_r", aspect="auto")
for (task, pe), value in np.ndenumerate(times):
    right.text(task, pe, f"{value:.0f}", ha="center", va="center", color="white" if value > 12 else "black")
right.set_xticks(range(len(job.tasks)))
right.set_yticks(range(platform.num_pes), platform.pes)
right.set(title="time of each task on each PE, us", xlabel="task")
plt.show()

# %% [markdown]
# ## 2. One job, planned ahead
#
# HEFT (Topcuoglu et al. 2002) and PEFT (Arabnejad and Barbosa 2014) list tasks by rank and put each where it finishes
# first. The constraint solver CP-SAT finds the shortest schedule and proves it.

# %%
dag = {"heft": 0, "peft": 0, "exact": 0}
for method in dag:
    plan = soc.schedule_static("topcuoglu_2002", method)
    dag[method] = plan.makespan
print("Topcuoglu's graph:", dag)

# %% [markdown]
# At run time nothing is planned ahead: when tasks become ready, a scheduler gives each a PE at once. MET takes the
# fastest PE, ETF the task and PE that are done first, data included.

# %%
soc.gantt_svg(soc.simulate("socrates_top", ["socrates_top1"], [0], scheduler="etf"), title="one job, ETF")

# %% [markdown]
# ## 3. A stream of jobs
#
# Twelve jobs that ask to enter every 20 us, at most three at a time. Numbers and colours are jobs.

# %%
stream = [f"socrates_top{1 + i % 5}" for i in range(12)]
arrivals = [20 * i for i in range(12)]
met = soc.simulate("socrates_top", stream, arrivals, scheduler="met", max_jobs_in_system=3)
soc.gantt_svg(met, title="MET")

# %%
etf = soc.simulate("socrates_top", stream, arrivals, scheduler="etf", max_jobs_in_system=3)
soc.gantt_svg(etf, title="ETF")

# %% [markdown]
# ## 4. Hundreds of streams in one call
#
# An environment takes its stream as data: arrivals, profiles and noise are arrays of the instance. So a few hundred
# worlds run in one compiled program, and every scheduler meets the same ones. Every trace passes an independent
# validator before it becomes a number.

# %%
num_worlds, num_jobs = (4, 4) if QUICK else (64, 50)
rules = ["met", "etf"] if QUICK else ["met", "heft_rt", "eft", "etf"]


def make(rule=None):
    """The setting of SoCRATES. HEFT_RT also keeps books: its plan orders the tasks of a PE."""
    books = {"rule": rule} if rule == "heft_rt" else {}
    return jaxsched.make("SoC-v0", cap_mode="socrates", **books)


def latencies(report):
    return np.array([row.objective for row in report.rows]) / num_jobs


caps = (3,) if QUICK else (3, 4, 5)
streams = {cap: soc.streams(num_jobs=num_jobs, cap=cap) for cap in caps}
worlds = {cap: evaluation.generate(streams[cap], num_worlds, seed=1) for cap in caps}
latency = {rule: [latencies(evaluation.evaluate(make(rule), worlds[cap], rule)) for cap in caps] for rule in rules}

figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
for i, rule in enumerate(rules):
    mean = [values.mean() for values in latency[rule]]
    half = [1.96 * values.std() / np.sqrt(num_worlds) for values in latency[rule]]
    axes.bar(np.arange(len(caps)) + 0.2 * (i - 1.5), mean, 0.18, yerr=half, label=rule)
axes.set_xticks(range(len(caps)), [f"at most {cap} jobs" for cap in caps])
axes.set(ylabel="mean latency, us", title=f"{num_worlds} streams of {num_jobs} jobs, with 95 % intervals")
axes.legend(ncols=4)
plt.show()

# %% [markdown]
# ## 5. A trained policy in the same worlds
#
# The package comes with a policy for this setting: a graph network over ready, queued and running tasks, PEs and jobs,
# trained by imitation of ETF and then on its own best episodes. Since worlds are the same, the difference can be taken
# world by world.

# %%
from jaxsched.policies import greedy_policy
from jaxsched.policies.io import load_policy

apply, params = load_policy("standard", make())


def play(params):
    return greedy_policy(apply, params)


policy = [latencies(evaluation.evaluate(make(), worlds[cap], play, params=params, label="policy")) for cap in caps]

figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
change = [100 * (ours / theirs - 1) for ours, theirs in zip(policy, latency["etf"], strict=True)]
axes.violinplot(change, showmeans=True)
axes.axhline(0, color="0.5", linewidth=1)
axes.set_xticks(range(1, len(caps) + 1), [f"at most {cap} jobs" for cap in caps])
axes.set(ylabel="latency over ETF, %", title="policy against ETF, one point per world; below 0 the policy is faster")
plt.show()
print({cap: f"{values.mean():+.2f} %" for cap, values in zip(caps, change, strict=True)})

# %% [markdown]
# The same with noise: execution times are drawn per job and task from the instance's own key, so both still meet the
# same world, and neither knows the times before.

# %%
noise = (0.4,) if QUICK else (0.0, 0.1, 0.2, 0.4)
curves = {rule: [] for rule in (*rules, "policy")}
for std in noise:
    drawn = evaluation.generate(soc.streams(num_jobs=num_jobs, noise_std=std), num_worlds, seed=2)
    for rule in rules:
        curves[rule].append(latencies(evaluation.evaluate(make(rule), drawn, rule)).mean())
    curves["policy"].append(latencies(evaluation.evaluate(make(), drawn, play, params=params, label="policy")).mean())

figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
for name, values in curves.items():
    axes.plot(noise, values, marker="o", label=name, linewidth=2.5 if name == "policy" else 1.2)
axes.set(xlabel="standard deviation of execution times / mean", ylabel="mean latency, us", title="at most 3 jobs")
axes.legend()
plt.show()

# %% [markdown]
# ## 6. Train your own
#
# Imitation of ETF is the first stage of the shipped policy (`imitate`), self-labelling the second (`standard`); on the
# command line `jaxsched train --env SoC-v0 --preset imitate`, then `--preset standard --start-from runs/001`. A few
# updates of the first stage show how fast it gets near its teacher.

# %% tags=["timing"]
from jaxsched.training import ImitationConfig, new_run_dir, train

preset = soc.PRESETS["smoke" if QUICK else "imitate"]
env = jaxsched.make("SoC-v0", cap_mode="socrates", record=False)
config = ImitationConfig(
    teacher="etf",
    num_updates=2 if QUICK else 12,
    num_envs=4 if QUICK else 16,
    num_own=2 if QUICK else 8,
    num_minibatches=2,
)
run_dir = new_run_dir()
apply_mine, trained = train(env, preset.source, config, run_dir=run_dir)

# %%
import json
from pathlib import Path

log = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
rows = [row for row in log if "cross_entropy" in row]
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
axes.plot([row["update"] for row in rows], [row["cross_entropy"] for row in rows], marker="o")
axes.set(xlabel="update", ylabel="cross entropy to ETF", title="imitation")
plt.show()

# %%
mine = evaluation.evaluate(
    make(), worlds[3], lambda params: greedy_policy(apply_mine, params), params=trained.average, label="mine"
)
theirs = {"mine, after minutes": latencies(mine).mean(), "shipped": policy[0].mean(), "etf": latency["etf"][0].mean()}
for name, value in theirs.items():
    print(f"{name:<20} {value:7.1f} us")

# %% [markdown]
# A trace as a table and for a trace viewer: open `trace.json` at ui.perfetto.dev.

# %%
etf.to_csv("trace.csv", overwrite=True)
etf.to_chrome("trace.json", overwrite=True)
print(*Path("trace.csv").read_text().splitlines()[:4], sep="\n")
