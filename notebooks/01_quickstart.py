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
# # Quickstart: a scheduler that trains itself
#
# A job shop is one of the classic hard problems of operations research: jobs follow their routes through machines, a
# machine does one operation at a time, and the last job should finish as early as possible. In this notebook you
#
# 1. draw schedules made at random, by a rule of thumb and by an exact solver,
# 2. play thousands of shops at once, compiled by JAX,
# 3. train a graph neural network that learns from its own best schedules, without labels and without a solver,
# 4. compare it with the rules on published instances,
# 5. and let it schedule a shop of your own.
#
# It runs on a CPU, a GPU or a TPU; the training is kept short enough for a CPU.

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
import json
import time

import jax
import matplotlib.pyplot as plt
import numpy as np

import jaxsched
from jaxsched.envs import job_shop

print(f"jaxsched {jaxsched.__version__}, jax {jax.__version__}")
print(f"{jax.device_count()} device(s) of kind {jax.devices()[0].device_kind}")
if jax.default_backend() == "cpu":
    print("No accelerator found; everything below works on the CPU too.")
    print("In Colab, Runtime → Change runtime type offers one.")

# %% [markdown]
# ## 1. One shop, three schedules
#
# `ft06` is the smallest of the instances that Fisher and Thompson published in 1963: 6 jobs, 6 machines. A job is a
# list of operations `(machine, duration)`, to be done in this order.

# %%
ft06 = job_shop.load("ft06")
for number, job in enumerate(job_shop.to_jobs(ft06)):
    print(f"job {number}:", *job)

# %% [markdown]
# As a decision process: each step picks a job, and its next operation is appended to the machine that it needs. After
# one step per operation the schedule is complete. The problem is an argument of `reset`, random keys are arguments too,
# and nothing is hidden in the environment, so `jit` and `vmap` apply to all of it.

# %%
env = jaxsched.make("JobShop-v0")
reset, step, lower_bound = jax.jit(env.reset), jax.jit(env.step), jax.jit(env.lower_bound)

state, timestep = reset(jax.random.key(0), ft06)
state, timestep = step(jax.random.key(1), state, 2)  # job 2 goes first

print("steps of an episode  ", env.max_steps(ft06))
print("operations left      ", state.ops_left)
print("legal actions        ", timestep.observation.action_mask)
print("no schedule is below ", lower_bound(ft06), "ticks")

# %% [markdown]
# First a schedule made at random. Each row is a machine, each colour a job; point at a bar for its details.

# %%
at_random = job_shop.dispatch(ft06, "random", candidates="any", seed=0)
job_shop.gantt_svg(ft06, at_random, title="ft06, jobs picked at random")

# %% [markdown]
# Then a rule of thumb: among the jobs that can start earliest (`non_delay`, the default of `dispatch`), take the one
# with the most work remaining, MWKR.

# %%
by_rule = job_shop.dispatch(ft06, "mwkr")
job_shop.gantt_svg(ft06, by_rule, title="ft06, most work remaining")

# %% [markdown]
# And the best there is: the constraint solver CP-SAT finds a schedule and proves a bound that it meets.

# %%
exact = job_shop.solve_exact(ft06, time_limit=30)
assert exact.proved
assert exact.objective == job_shop.bounds("ft06").upper
print(f"CP-SAT: makespan {exact.objective}, bound {exact.bound}, proved optimal: {exact.proved}")
for name, schedule in (("random", at_random), ("MWKR", by_rule)):
    print(f"{name}: {100 * (schedule.makespan / exact.objective - 1):.0f} % above it")

job_shop.gantt_svg(ft06, exact.schedule, title="ft06, optimal")

# %% [markdown]
# Proofs get out of reach as shops grow:

# %%
taillard = [job_shop.bounds(name) for name in job_shop.expand("ta01-ta80")]
num_open = sum(known.lower < known.upper for known in taillard)
print(f"{num_open} of the {len(taillard)} instances that Taillard published in 1993 have no proved optimum")
print(f"({taillard[0].source}, {taillard[0].date})")

# %% [markdown]
# A learned policy aims between the two: it decides step by step like a rule, but looks at more of the shop.
#
# ## 2. Thousands of shops at once
#
# A *source* draws an instance from a key. Here: random shops of 10 jobs and 10 machines. `rollout` plays one episode;
# `vmap` plays thousands, and `jit` makes one program of generating and playing them all.
#
# Makespans of different shops are comparable after division by the *baseline*: the makespan bound before the first
# decision, which is the length of the longest job or the load of the busiest machine. Three ways to choose among the
# jobs that can start earliest: at random, the shortest processing time of the next operation (SPT), and MWKR.

# %%
from jaxsched.core import greedy, randomised

num_shops = 64 if QUICK else 4096
source = job_shop.uniform(4, 3) if QUICK else job_shop.uniform(10, 10)
rules_env = jaxsched.make("JobShop-v0", candidates="non_delay")
rules = {
    "random": randomised(env.heuristics["random"], temperature=1.0),
    "SPT": greedy(env.heuristics["spt"]),
    "MWKR": greedy(env.heuristics["mwkr"]),
}


@jax.jit
def play(keys):
    def one(key):
        instance_key, episode_key = jax.random.split(key)
        instance = source(instance_key)
        played = [jaxsched.rollout(rules_env, episode_key, instance, policy) for policy in rules.values()]
        return [episode.objective / env.baseline(instance) for episode in played]

    return jax.vmap(one)(keys)


ratios = dict(zip(rules, play(jax.random.split(jax.random.key(0), num_shops)), strict=True))

figure, axis = plt.subplots(figsize=(9, 3.6), layout="constrained")
colours = ("#999999", "#E69F00", "#0072B2")
bins = np.linspace(1, max(float(ratio.max()) for ratio in ratios.values()), 60)
for (name, ratio), colour in zip(ratios.items(), colours, strict=True):
    axis.hist(ratio, bins, alpha=0.6, color=colour, label=f"{name}: mean {ratio.mean():.2f}")
axis.set(xlabel="makespan / baseline (lower is better)", ylabel="shops", title=f"{num_shops:,} random shops")
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# How fast is that on your machine? The program is compiled already, so this times the work alone: drawing each shop and
# scheduling it three times.

# %% tags=["timing"]
keys = jax.random.split(jax.random.key(1), num_shops)
began = time.perf_counter()
jax.block_until_ready(play(keys))
rate = len(rules) * num_shops / (time.perf_counter() - began)
print(f"{rate:,.0f} complete schedules per second on {jax.devices()[0].device_kind}")

# %% [markdown]
# ## 3. Train a policy
#
# A policy does not see all operations, only the *frontier*: what can be decided now, and sums over what remains. That
# is a padded graph of the jobs, so one network serves shops of any size; a machine shows in the features of the jobs
# that need it next, and in who competes for it. Here is what it sees of `ft06`:

# %%
observation = timestep.observation
jobs = observation["job"]
print(f"nodes: {int(jobs.mask.sum())} jobs, {len(jobs.names)} features each")
print("of job 0:", ", ".join(f"{name}: {float(jobs[name][0]):.2f}" for name in jobs.names[:4]), "...")
print("relations:", ", ".join(observation.relation_names))
print(f"actions: {len(observation.action_mask)}, of which {int(observation.action_mask.sum())} legal")

# %% [markdown]
# The teacher is the simulator itself (*self-labelling*, Corsini et al., NeurIPS 2024). In each update the policy
# samples many schedules for each of several new shops, and gradient steps make the best one of each shop more probable.
# No labels are needed and no solver. `train` writes all of it to a new folder, and can go on from there if it is cut
# off.

# %% tags=["timing"]
from jaxsched.policies import NetworkConfig
from jaxsched.training import SelfLabelingConfig, new_run_dir, train

config = SelfLabelingConfig(num_updates=60, num_envs=8, num_samples=32, num_minibatches=2)
if QUICK:
    small = NetworkConfig(width=16, num_layers=1, num_heads=2)
    config = SelfLabelingConfig(num_updates=4, num_envs=4, num_samples=4, num_minibatches=2, network=small)

run_dir = new_run_dir("runs")
apply, trained = train(env, source, config, run_dir=run_dir)

# %%
num_weights = sum(leaf.size for leaf in jax.tree.leaves(trained.average))
num_schedules = config.num_updates * config.num_envs * config.num_samples
print(f"{num_weights:,} weights, trained on {num_schedules:,} schedules of its own")
print(*sorted(path.name for path in run_dir.iterdir()))

# %%
rows = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
updates = [row["update"] for row in rows]

curves = {
    "objective_over_scale": ("#0072B2", "policy, mean of its samples"),
    "best_over_scale": ("#009E73", f"policy, best of {config.num_samples} samples"),
}
figure, axis = plt.subplots(figsize=(9, 3.6), layout="constrained")
for name, (colour, label) in curves.items():
    axis.plot(updates, [row[name] for row in rows], color=colour, label=label)
axis.axhline(ratios["MWKR"].mean(), color="#D55E00", linestyle="--", label=f"MWKR, mean of {num_shops:,} shops")
axis.set(xlabel="update", ylabel="makespan / baseline", title="Learning curve, new random shops in every update")
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ## 4. Against the rules, on published instances
#
# The policy has only seen random shops of one size. `ft10` is of that size, and its optimum was unknown from 1963 to
# 1989 (Carlier and Pinson); `ta01`, from Taillard's benchmark of 1993, has 15 jobs and 15 machines, more than any shop
# in training. `evaluate` plays a rule or a policy on named instances, checks every schedule with a validator that
# shares no code with the simulator, and measures the *gap*: per cent above the best known makespan.
#
# A policy can also be sampled many times and the best schedule kept. For a fair comparison so can a rule: MWKR with
# random noise, at the noise level (temperature) that does best on generated shops.

# %%
import functools

from jaxsched.evaluation import best_temperature, evaluate, randomised_rule
from jaxsched.policies import greedy_policy, sampling_policy

names = ["ft06"] if QUICK else ["ft06", "ft10", "ta01"]
samples = 4 if QUICK else 64
instances = {name: job_shop.load(name) for name in names}
play_greedily = functools.partial(greedy_policy, apply)
play_sampled = functools.partial(sampling_policy, apply)

num_tuning = 4 if QUICK else 100
temperature = best_temperature(rules_env, "mwkr", source, samples=samples, num_instances=num_tuning)
noisy = randomised_rule(rules_env, "mwkr")

reports = [
    evaluate(rules_env, instances, "spt"),
    evaluate(rules_env, instances, "mwkr"),
    evaluate(env, instances, play_greedily, params=trained.average, label="policy, greedy"),
    evaluate(rules_env, instances, noisy, params=temperature, samples=samples, label=f"mwkr, best of {samples}"),
    evaluate(env, instances, play_sampled, params=trained.average, samples=samples, label=f"policy, best of {samples}"),
]

print(f"{'makespan (gap)':<18}", *(f"{name:>16}" for name in names), f"{'mean gap':>10}")
print(f"{'best known':<18}", *(f"{job_shop.bounds(name).upper:>6}{'':10}" for name in names))
for report in reports:
    cells = [f"{row.objective:>6} ({row.gap:5.1f} %)" for row in report.rows]
    print(f"{report.label:<18}", *cells, f"{report.mean_gap:8.1f} %")

# %%
figure, axis = plt.subplots(figsize=(9, 3.6), layout="constrained")
labels = [report.label for report in reports]
colours = ["#009E73" if label.startswith("policy") else "#999999" for label in labels]
bars = axis.barh(labels, [report.mean_gap for report in reports], color=colours)
axis.bar_label(bars, fmt="%.1f %%", padding=4)
axis.invert_yaxis()
axis.margins(x=0.1)
axis.set(xlabel="mean gap to the best known makespan in per cent (lower is better)", title=", ".join(names))
axis.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# Three instances are a demonstration, not a benchmark; `jaxsched train` ends with such a table on `ta01` to `ta20`.
#
# A report keeps the schedules. This is the best one that the policy sampled for the last instance:

# %%
row = reports[-1][names[-1]]
job_shop.gantt_svg(instances[row.instance], row.solution, title=f"{row.instance}, {row.policy}")

# %% [markdown]
# ## 5. A shop of your own
#
# Write down the jobs: machines and durations, in route order. Jobs may differ in length, visit a machine twice, and be
# released later. The network needs no retraining for another size.

# %%
SAW, DRILL, PAINT, PACK = range(4)
workshop = job_shop.from_jobs(
    [
        [(SAW, 30), (DRILL, 20), (PAINT, 45), (PACK, 10)],  # table
        [(SAW, 15), (PAINT, 30), (DRILL, 15), (PAINT, 30), (PACK, 10)],  # cupboard: painted twice
        [(DRILL, 40), (PACK, 5)],  # shelf
        [(SAW, 25), (DRILL, 10), (PAINT, 20), (PACK, 10)],  # chair
        [(SAW, 20), (DRILL, 30), (PACK, 15)],  # bench: its wood arrives late
    ],
    release=[0, 0, 0, 0, 60],
)
mine = {"workshop": workshop}
row = evaluate(env, mine, play_sampled, params=trained.average, samples=samples, label="policy")["workshop"]
exact = job_shop.solve_exact(workshop, time_limit=30)

print("faults found by the validator:", env.validate(workshop, row.solution))
print(f"policy {row.objective}, MWKR {job_shop.dispatch(workshop, 'mwkr').makespan}, CP-SAT {exact.objective}")
job_shop.gantt_svg(workshop, row.solution, title="the workshop, scheduled by the policy")

# %% [markdown]
# `row.solution.start[j][k]` is the start of operation `k` of job `j`. Files in the field's standard format are read by
# `job_shop.load("path")`.
#
# ## 6. Keep the policy
#
# `train` has written `policy.safetensors` into its folder: weights and settings, no code. It plays as before:

# %%
from jaxsched.policies.io import load_policy, save_policy

save_policy(run_dir / "mine.safetensors", trained.average, config.network, env)  # or anywhere else
loaded_apply, loaded_params = load_policy(run_dir / "mine.safetensors", env)

play_loaded = functools.partial(sampling_policy, loaded_apply)
again = evaluate(env, mine, play_loaded, params=loaded_params, samples=samples)["workshop"]
assert again.solution == row.solution
print("The loaded policy makes the same schedule, makespan", again.objective)

# %% [markdown]
# ## Where next
#
# * **Train longer:** `jaxsched train` does, and prints a table like the one above; `jaxsched --help` lists the other
#   commands.
# * **PPO instead of self-labelling:** pass a `PPOConfig` to `train`; `job_shop.PRESETS` has tuned settings.
# * **Several devices:** `train(..., mesh=data_mesh())` shares each update among them, same result up to rounding.
# * **Your own problem:** subclass `jaxsched.Environment`, `jaxsched.register` it, and let
#   `jaxsched.testing.check_environment` check it; policies and trainers work unchanged.
# * **What exactly the policy sees, and where the instances come from:** `jaxsched/envs/job_shop/README.md`.
