"""What `StaticAllocation-v0` offers beside its rules."""

from jaxsched.core.offer import Offer
from jaxsched.envs.memory.allocation.preset import PRESETS

OFFER = Offer(presets=PRESETS)
