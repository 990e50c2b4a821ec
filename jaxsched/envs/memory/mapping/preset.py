"""Training settings of `MemoryMap-v0` as plain data."""

from jaxsched.core.offer import Preset
from jaxsched.envs.memory.mapping.sources import random_programs

NETWORK = {"width": 32, "num_layers": 2, "num_heads": 4, "expansion": 2}
PPO = {
    "algorithm": "ppo",
    "num_epochs": 2,
    "gamma": 1.0,
    "gae_lambda": 0.95,
    "reward_scale": 10.0,
    "network": NETWORK,
}

PRESETS = {
    "smoke": Preset(
        about="MemoryMap-v0: a few seconds, to see that everything works",
        source=random_programs(4),
        training={
            "algorithm": "ppo",
            "num_updates": 4,
            "num_envs": 4,
            "num_minibatches": 2,
            "network": {"width": 16, "num_layers": 1, "num_heads": 2},
        },
    ),
    # Stages, each from the weights of the one before.
    "imitate": Preset(
        about="MemoryMap-v0, first stage: the rule `belady` on random programs of 20 instructions with 60 accesses",
        source=random_programs(20),
        training={
            "algorithm": "imitation",
            "teacher": "belady",
            "num_updates": 30,
            "num_envs": 64,
            "num_own": 32,
            "num_minibatches": 8,
            "learning_rate": 2e-3,
            "network": NETWORK,
        },
    ),
    "standard": Preset(
        about="MemoryMap-v0, second stage: PPO on the same programs",
        source=random_programs(20),
        training=PPO
        | {
            "num_updates": 120,
            "num_envs": 64,
            "num_minibatches": 4,
            "learning_rate": 1e-3,
            "entropy_weight": 0.003,
        },
    ),
    "long": Preset(
        about="MemoryMap-v0, third stage: PPO again with twice the programs per update and half the rate",
        source=random_programs(20),
        training=PPO
        | {
            "num_updates": 80,
            "num_envs": 128,
            "num_minibatches": 8,
            "learning_rate": 5e-4,
            "entropy_weight": 0.001,
        },
    ),
    "expert": Preset(
        about="MemoryMap-v0, fourth stage: expert iteration, 16 simulations per decision",
        source=random_programs(20),
        training={
            "algorithm": "expert_iteration",
            "num_updates": 24,
            "num_envs": 32,
            "num_simulations": 16,
            "value_scale": 1.0,
            "rescale_values": False,
            "num_minibatches": 4,
            "num_epochs": 2,
            "learning_rate": 3e-4,
            "reward_scale": 10.0,
            "network": NETWORK,
        },
    ),
}
