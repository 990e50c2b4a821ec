"""Tuned training settings of `JobShop-v0` on random shops of Taillard's distribution, and its
default comparison.
"""

import dataclasses

from jaxsched.core.offer import Comparison, Preset
from jaxsched.envs.job_shop.sources import uniform

COMPARISON = Comparison(
    groups=("ft06", "ft10", "ta01-ta10", "ta11-ta20", "ta01-ta20"),
    track={"15x15": uniform(15, 15), "20x10": uniform(20, 10)},
    draw="ft10",
    rules=("spt", "mwkr", "fdd_mwkr"),
    randomised_rule="mwkr",
    rule_settings={"candidates": "non_delay"},
)
# One instance, one rule and a proof at once.
SMOKE_COMPARISON = dataclasses.replace(
    COMPARISON,
    groups=("ft06",),
    track={},
    draw="ft06",
    rules=("mwkr",),
    randomised_rule=None,
    samples=8,
    rounds=1,
)

# Several sizes in turn: a policy trained on one size is worse on others, the larger the worse.
SMALL = (uniform(8, 6), uniform(10, 8), uniform(15, 6))
MIDDLE = (uniform(10, 10), uniform(15, 15), uniform(20, 10), uniform(30, 6))

# As in the publication whose network this is, which trains on 15x10, 15x15 and 15x20.
LARGE = (uniform(15, 10), uniform(15, 15), uniform(20, 15))

# The work of 32 episodes of every instance for its label (`benchmarks/ablation.py`).
SELF_LABELING = {
    "algorithm": "self_labeling",
    "num_envs": 8,
    "num_samples": 13,
    "num_rounds": 4,
    "advantage_power": 1.0,
    "num_minibatches": 2,
    "learning_rate": 1e-3,
}

PRESETS = {
    "quick": Preset(
        about="the main job: self-labelling, minutes on two CPU cores",
        source=SMALL,
        training=SELF_LABELING | {"num_updates": 240},
    ),
    "standard": Preset(
        about="the same on larger shops and for longer, half an hour of one CPU core",
        source=MIDDLE,
        training=SELF_LABELING | {"num_updates": 480},
    ),
    "accelerator": Preset(
        about="a network over all operations that are left, hours of one large GPU",
        source=LARGE,
        settings={"observation": "operations"},
        training=SELF_LABELING
        | {
            "num_updates": 1000,
            "num_envs": 256,
            "num_minibatches": 4,
            "micro_batch": 8,
            "learning_rate": 5e-4,
            "network": {"along": "axes", "num_layers": 6, "num_heads": 4},
        },
    ),
    "ppo": Preset(
        about="PPO alone, minutes on two CPU cores",
        source=uniform(10, 10),
        training={
            "algorithm": "ppo",
            "num_updates": 150,
            "num_envs": 64,
            "num_minibatches": 4,
            "num_epochs": 2,
            "learning_rate": 1e-3,
        },
    ),
    "smoke": Preset(
        about="a few seconds, to see that everything works",
        source=uniform(4, 3),
        training={
            "algorithm": "self_labeling",
            "num_updates": 4,
            "num_envs": 4,
            "num_samples": 4,
            "num_minibatches": 2,
            "network": {"width": 16, "num_layers": 1, "num_heads": 2},
        },
        comparison=SMOKE_COMPARISON,
    ),
}
