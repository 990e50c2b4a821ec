"""Training settings of `TensorReplacement-v0` as plain data."""

from jaxsched.core.offer import Preset
from jaxsched.envs.memory.replacement.sources import programs


def _smoke(key):
    return programs(8, 4, 8, seed=1)(key)


def _small(key):
    return programs(512, 8, 16, seed=1)(key)


def _standard(key):
    return programs(2048, 12, 32, seed=1)(key)


PRESETS = {
    "smoke": Preset(
        about="TensorReplacement-v0: a few seconds, to see that everything works",
        source=_smoke,
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
        about="TensorReplacement-v0: self-labelling on programs of 8 to 16 operators",
        source=_small,
        training={
            "algorithm": "self_labeling",
            "num_updates": 60,
            "num_envs": 8,
            "num_samples": 32,
            "num_minibatches": 2,
            "learning_rate": 1e-3,
        },
    ),
    "standard": Preset(
        about="TensorReplacement-v0: PPO on programs of 12 to 32 operators",
        source=_standard,
        training={
            "algorithm": "ppo",
            "num_updates": 150,
            "num_envs": 64,
            "num_minibatches": 4,
            "num_epochs": 2,
            "learning_rate": 1e-3,
        },
    ),
}
