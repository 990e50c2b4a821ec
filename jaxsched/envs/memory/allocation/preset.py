"""Training settings of the memory environments as plain data."""

from jaxsched.core.offer import Preset
from jaxsched.envs.memory.allocation.sources import random_lives

PRESETS = {
    "smoke": Preset(
        about="StaticAllocation-v0: a few seconds, to see that everything works",
        source=random_lives(12),
        training={
            "algorithm": "self_labeling",
            "num_updates": 4,
            "num_envs": 4,
            "num_samples": 4,
            "num_minibatches": 2,
            "network": {"width": 16, "num_layers": 1, "num_heads": 2},
        },
    ),
    "quick": Preset(
        about="StaticAllocation-v0: self-labelling on 32 random lives",
        source=random_lives(32),
        training={
            "algorithm": "self_labeling",
            "num_updates": 60,
            "num_envs": 8,
            "num_samples": 32,
            "num_minibatches": 2,
            "learning_rate": 1e-3,
        },
    ),
}
