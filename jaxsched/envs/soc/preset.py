"""Training settings of `SoC-v0`."""

from jaxsched.core.offer import Preset
from jaxsched.envs.soc.sources import streams

# SoCRATES' platform and profiles over several caps, rates and noise levels at once; short streams,
# since ten jobs to come look like many.
STREAMS = streams(num_jobs=12, cap=(3, 4, 5), scale=(10, 25, 50, 100), noise_std=(0, 0, 0.2, 0.4))
NETWORK = {"width": 32, "num_layers": 2, "num_heads": 4, "expansion": 2}
PPO = {
    "algorithm": "ppo",
    "num_updates": 150,
    "num_envs": 32,
    "num_minibatches": 4,
    "num_epochs": 2,
    "learning_rate": 1e-3,
    "network": NETWORK,
}

PRESETS = {
    "imitate": Preset(
        about="imitation of ETF, the first stage: minutes on two CPU cores",
        source=STREAMS,
        settings={"cap_mode": "socrates", "record": False},
        training={
            "algorithm": "imitation",
            "teacher": "etf",
            "num_updates": 25,
            "num_envs": 32,
            "num_own": 24,
            "num_minibatches": 4,
            "learning_rate": 2e-3,
            "network": NETWORK,
        },
    ),
    "standard": Preset(
        about="self-labelling, to start from `imitate` (--start-from): 45 minutes on two shared CPU cores",
        source=STREAMS,
        settings={"cap_mode": "socrates", "record": False},
        training={
            "algorithm": "self_labeling",
            "num_updates": 100,
            "num_envs": 12,
            "num_samples": 32,
            "num_minibatches": 2,
            "learning_rate": 1e-3,
            "network": NETWORK,
        },
    ),
    "socrates": Preset(
        about="PPO in the style of SoCRATES: a PE for the oldest ready task, rewards and returns on the clock",
        source=STREAMS,
        settings={"cap_mode": "socrates", "record": False, "view": "fifo", "reward": "socrates"},
        training=PPO | {"tick_gamma": 0.98, "reward_scale": 0.02},
    ),
    "deepsocs": Preset(
        about="PPO in the style of DeepSoCS: an order of the ready tasks, mapped by HEFT at run time",
        source=STREAMS,
        settings={
            "cap_mode": "socrates",
            "record": False,
            "view": "order",
            "order_mapping": "heft_rt",
        },
        training=PPO | {"reward_scale": 0.1},  # with 1 the policy moves ten times less at first
    ),
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
