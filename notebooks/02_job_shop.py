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
# # The job shop, all of it: what a decision means, what to minimise, and your own orders
#
# Papers on learned job-shop scheduling differ in what a decision does. Here the difference is one setting, so results
# can be compared. In this notebook you
#
# 1. play the same rules under four meanings of "dispatch this job",
# 2. see when waiting pays, and how an environment lets a policy wait,
# 3. look at the observations of two published policies beside ours,
# 4. minimise flow time and weighted tardiness instead of the makespan,
# 5. and plan a table of orders with names, dates and due dates, from CSV to a page with a Gantt chart.

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
from jaxsched.envs import job_shop

print(f"jaxsched {jaxsched.__version__}, jax {jax.__version__}")

# %% [markdown]
# ## 1. Four meanings of a decision
#
# A decision picks a job, and its next operation goes to the machine that it needs. The *candidate mode* says who may be
# picked, and where the operation goes.
#
# | mode | who may be picked | where the operation goes | used by |
# |---|---|---|---|
# | `any` | every unfinished job | behind all others on its machine | SLIM, Residual Scheduling |
# | `non_delay` | jobs that can start earliest | behind all others | classic tables of priority rules |
# | `insert` | every unfinished job | into the first gap that is long enough | L2D |
# | `event` | jobs that can start now, or nobody: wait | behind all others | Tassel et al. 2023 |
#
# The same rule, most work remaining (MWKR), on `ft10` (Fisher and Thompson 1963, optimum 930). Appending whatever has
# most work left leaves holes:

# %%
ft10 = job_shop.load("ft10")
schedules = {mode: job_shop.dispatch(ft10, "mwkr", mode) for mode in ("any", "non_delay", "insert", "event")}
job_shop.gantt_svg(ft10, schedules["any"], title="ft10, MWKR, any")

# %% [markdown]
# Inserting into gaps fills some of them:

# %%
job_shop.gantt_svg(ft10, schedules["insert"], title="ft10, MWKR, insert")

# %% [markdown]
# And never leaving a machine idle that could work leaves almost none:

# %%
job_shop.gantt_svg(ft10, schedules["non_delay"], title="ft10, MWKR, non_delay")

# %% [markdown]
# A rule that never waits plays the same game under `event` as under `non_delay`. Which mode suits a rule depends on the
# rule; that is why a table has to name its mode.

# %%
assert schedules["event"] == schedules["non_delay"]
names = ["ft06", "ft10", "ft20"] if QUICK else ["ft06", "ft10", "ft20", *job_shop.expand("ta01-ta10")]
shops = {name: job_shop.load(name) for name in names}
rules, modes = ["spt", "mwkr", "mopnr", "fdd_mwkr"], ["any", "insert", "non_delay"]
gaps = np.array(
    [
        [evaluation.evaluate(jaxsched.make("JobShop-v0", candidates=mode), shops, rule).mean_gap for rule in rules]
        for mode in modes
    ]
)

figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
for index, mode in enumerate(modes):
    axes.bar(np.arange(len(rules)) + 0.27 * (index - 1), gaps[index], 0.25, label=mode)
axes.set_xticks(range(len(rules)), rules)
axes.set(ylabel="mean gap to the best known, %", title=f"{len(names)} published shops")
axes.legend()
plt.show()

# %% [markdown]
# ## 2. When waiting pays
#
# Job 1 will need machine 0 for one tick at time 1, and then has long work elsewhere. A non-delay schedule gives
# machine 0 to job 0 at once, for ten ticks.

# %%
shop = job_shop.from_jobs([[(0, 10)], [(1, 1), (0, 1), (2, 10)]])
eager = job_shop.dispatch(shop, "mwkr", "non_delay")
job_shop.gantt_svg(shop, eager, title="never idle")

# %% [markdown]
# Under `event` a policy can wait: the no-op, whose number is that of the jobs, moves the clock to the next time at
# which something can start. Start job 1, wait, start it again, then job 0.

# %%
patient = job_shop.replay(shop, [1, 2, 1, 0, 1], "event")
assert patient.makespan == job_shop.solve_exact(shop, time_limit=10).objective < eager.makespan
job_shop.gantt_svg(shop, patient, title="one tick of patience")

# %% [markdown]
# The other complete modes, `any` and `insert`, need no such action: there a job is picked whenever it is to be started.
#
# ## 3. What a policy sees
#
# The network reads any graph, so the observation is a setting too. `frontier` is ours: the jobs, about what comes
# next. `operations` has every operation left. `l2d` and `tassel` are those of the publications.

# %%
settings = {
    "frontier": {},
    "operations": {},
    "l2d": {"candidates": "insert", "max_visits": 1},
    "tassel": {"candidates": "event"},
}
for observation, others in settings.items():
    env = jaxsched.make("JobShop-v0", observation=observation, **others)
    shapes = jax.eval_shape(env.reset, jax.random.key(0), ft10)[1].observation
    kinds = [f"{len(nodes.mask):3} x {nodes.kind} ({len(nodes.names)} features)" for nodes in shapes.nodes]
    print(f"{observation:<11}", ", ".join([*kinds, f"{len(shapes.relation_names)} relations"]))

# %% [markdown]
# ## 4. What to minimise
#
# `objective` is `makespan`, `flow_time` (the sum over jobs of completion minus release) or `weighted_tardiness` (weight
# times lateness past the due date). Rewards telescope to each of them exactly. Random shops with due dates of 1.5 times
# the work of a job, where the rules for due dates show what they are for:

# %%
source = job_shop.with_due_dates(job_shop.uniform(4, 3) if QUICK else job_shop.uniform(10, 10), tightness=1.5)
dated = evaluation.generate(source, 8 if QUICK else 64, seed=1)
env = jaxsched.make("JobShop-v0", candidates="non_delay", objective="weighted_tardiness")
rules = ["spt", "mwkr", "fifo", "edd", "slack", "cr", "atc"]
cost = [evaluation.evaluate(env, dated, rule).mean_objective for rule in rules]

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.bar(rules, cost, color=["C7"] * 3 + ["C0"] * 4)
axes.set(ylabel="mean weighted tardiness", title=f"{len(dated)} random shops; blue: rules that know due dates")
plt.show()

# %% [markdown]
# ## 5. Your own orders
#
# One row per operation, jobs and machines by name. Releases, due dates and weights belong to the job.

# %%
from pathlib import Path

Path("orders.csv").write_text("""job,step,machine,minutes,release,due,weight
A-17,10,lathe,35,2026-11-23T08:00,2026-11-23T12:00,2
A-17,20,mill,50,,,
A-17,30,paint,60,,,
B-02,10,mill,90,2026-11-23T08:30,2026-11-23T12:30,1
B-02,20,lathe,45,,,
B-02,30,paint,30,,,
C-05,10,lathe,120,2026-11-23T08:00,2026-11-23T11:00,3
C-05,20,paint,40,,,
D-11,10,mill,25,2026-11-23T08:00,,
D-11,20,paint,80,,,
""")
orders = job_shop.read_orders("orders.csv")
lines, impossible = job_shop.summary(orders.instance, orders=orders)
print(*lines, *impossible, sep="\n")

# %% [markdown]
# A rule gives a plan at once; the solver starts from it and proves what is left to gain.

# %%
plan = job_shop.dispatch(orders.instance, "atc", objective="weighted_tardiness")
result = job_shop.solve_exact(orders.instance, 10, plan, objective="weighted_tardiness")
before = job_shop.measure(orders.instance, plan, "weighted_tardiness")
print(f"weighted tardiness: {before} by the rule, {result.objective} after the solver, proved: {result.proved}")
for line in job_shop.explain(orders.instance, result.schedule, objective="weighted_tardiness", orders=orders):
    print("-", line)

# %%
job_shop.gantt_svg(orders.instance, result.schedule, title="Plan", orders=orders)

# %% [markdown]
# The plan as a table for other programs, and as a page for people: a click on a bar shows its job alone.

# %%
job_shop.write_schedule(orders.instance, result.schedule, "plan.csv", orders=orders, overwrite=True)
job_shop.gantt_html(orders.instance, result.schedule, title="Plan", orders=orders).save("plan.html", overwrite=True)
print(Path("plan.csv").read_text())

# %% [markdown]
# On the command line:
#
# ```bash
# jaxsched import orders.csv --check
# jaxsched solve orders.csv --rule atc --objective weighted_tardiness --polish --explain \
#     --out plan.csv --gantt plan.html
# ```
