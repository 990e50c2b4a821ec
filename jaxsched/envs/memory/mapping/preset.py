"""Training settings of `MemoryMap-v0` as plain data."""

from jaxsched.core.environment import Preset
from jaxsched.envs.memory.mapping.sources import random_programs

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
    "standard": Preset(
        about="MemoryMap-v0: PPO on random programs of 20 instructions with 60 accesses",
        source=random_programs(20),
        training={
            "algorithm": "ppo",
            "num_updates": 300,
            "num_envs": 64,
            "num_minibatches": 4,
            "num_epochs": 2,
            "learning_rate": 1e-3,
            "gamma": 1.0,
            "network": {"width": 32, "num_layers": 2, "num_heads": 4},
        },
    ),
}
