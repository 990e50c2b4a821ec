"""Tuned training settings of `FlexibleJobShop-v0` on small random shops of mixed sizes."""

from jaxsched.core.offer import Preset
from jaxsched.core.sources import Mixture
from jaxsched.envs.job_shop.flexible.sources import sd1, uniform

# Half SD1, half with few alternatives and operations in no relation to the number of machines, as
# in published sets.
MIXED = Mixture(
    [
        sd1(10, 6, min_jobs=5, min_machines=3),
        uniform(10, 6, ops=(3, 7), alternatives=(1, 3), low=1, high=20, min_jobs=5, min_machines=4),
    ]
)

PPO = {
    "algorithm": "ppo",
    "num_updates": 80,
    "num_envs": 64,
    "num_minibatches": 4,
    "num_epochs": 2,
    "learning_rate": 1e-3,
    "network": {"width": 64, "num_layers": 2, "num_heads": 4, "expansion": 2},
}

PRESETS = {
    "quick": Preset(
        about="PPO, a few minutes on two CPU cores",
        source=MIXED,
        training=PPO | {"num_updates": 30},
    ),
    "standard": Preset(
        about="PPO, about twenty minutes on two CPU cores",
        source=MIXED,
        training=PPO,
    ),
    "smoke": Preset(
        about="a few seconds, to see that everything works",
        source=sd1(4, 3),
        training={
            "algorithm": "self_labeling",
            "num_updates": 4,
            "num_envs": 4,
            "num_samples": 4,
            "num_minibatches": 2,
            "network": {"width": 16, "num_layers": 1, "num_heads": 2},
        },
    ),
}
