"""Training settings of `StaticAllocation-v0` as plain data."""

from jaxsched.core.offer import Preset
from jaxsched.envs.memory.allocation.sources import cut_lives, random_lives

# Full memories with few and with many live buffers, one with room left, and random lives.
VARIED = (
    cut_lives(24, time_percent=50),
    cut_lives(40, 6, time_percent=35),
    cut_lives(48, time_percent=45),
    cut_lives(56, time_percent=20),
    random_lives(32),
)

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
    "imitate": Preset(
        about="StaticAllocation-v0: imitation of the best rule, a minute or two",
        source=VARIED,
        training={
            "algorithm": "imitation",
            "teacher": "lowest",
            "num_updates": 40,
            "num_envs": 32,
            "num_own": 16,
            "num_minibatches": 4,
            "learning_rate": 1e-3,
        },
    ),
    "standard": Preset(
        about="StaticAllocation-v0: self-labelling, to start from `imitate` (--start-from): half an hour of one core",
        source=VARIED,
        training={
            "algorithm": "self_labeling",
            "num_updates": 300,
            "num_envs": 8,
            "num_samples": 13,
            "num_rounds": 4,
            "advantage_power": 1.0,
            "num_minibatches": 2,
            "learning_rate": 5e-4,
        },
    ),
}
