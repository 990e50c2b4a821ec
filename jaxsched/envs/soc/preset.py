"""Training settings of `SoC-v0`, and what a trained policy is compared with by default."""

from jaxsched.core.environment import Preset
from jaxsched.envs.soc.sources import streams

PRESETS = {
    "smoke": Preset(
        about="a few seconds, to see that everything works",
        source=streams(num_jobs=2, cap=2),
        training={
            "algorithm": "ppo",
            "num_updates": 4,
            "num_envs": 4,
            "num_minibatches": 2,
            "network": {"width": 16, "num_layers": 1, "num_heads": 2},
        },
    ),
}
