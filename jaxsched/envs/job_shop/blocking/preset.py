"""Training settings of `BlockingJobShop-v0`: small random shops, half of them with machines that
fail.
"""

from jaxsched.core.offer import Preset
from jaxsched.envs.job_shop.blocking.sources import interrupted
from jaxsched.envs.job_shop.sources import uniform

PROBABILITIES = (0.0, 0.0, 0.0, 0.05, 0.1, 0.2)

PRESETS = {
    "standard": Preset(
        about="PPO, less than half an hour on two CPU cores",
        source=interrupted(uniform(8, 8), PROBABILITIES),
        training={
            "algorithm": "ppo",
            "num_updates": 200,
            "num_envs": 64,
            "num_minibatches": 4,
            "num_epochs": 2,
            "learning_rate": 1e-3,
            "network": {"width": 32, "num_layers": 2, "num_heads": 4, "expansion": 2},
        },
    ),
    "smoke": Preset(
        about="a few seconds, to see that everything works",
        source=interrupted(uniform(4, 3), PROBABILITIES),
        training={
            "algorithm": "ppo",
            "num_updates": 4,
            "num_envs": 4,
            "num_minibatches": 2,
            "network": {"width": 16, "num_layers": 1, "num_heads": 2},
        },
    ),
}
