"""The smallest training, shared, so that its programs compile once."""

import jaxsched
from jaxsched.envs import job_shop
from jaxsched.policies import NetworkConfig
from jaxsched.training import SelfLabelingConfig

ENV = jaxsched.make("JobShop-v0")
SOURCE = job_shop.uniform(3, 3)
CONFIG = SelfLabelingConfig(
    num_envs=4,
    num_samples=8,
    num_minibatches=2,
    num_updates=6,
    network=NetworkConfig(width=16, num_layers=1, num_heads=2),
)
