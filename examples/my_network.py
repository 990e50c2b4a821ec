"""A network of one's own, trained on small job shops, saved and loaded."""

import jax
from jax import random

import jaxsched
from jaxsched.envs import job_shop
from jaxsched.policies import greedy_policy
from jaxsched.policies.io import load_policy
from jaxsched.training import SelfLabelingConfig, new_run_dir, train


def network(key, shapes):
    """`apply` and its first parameters, from a key and the shapes of an observation."""
    num = len(shapes["job"].names)
    sizes = {"in": (num, 32), "own": (32, 32), "all": (32, 32), "score": (32,), "value": (32,)}
    keys = dict(zip(sizes, random.split(key, len(sizes)), strict=True))
    return apply, {k: random.normal(keys[k], size, "float32") / 6 for k, size in sizes.items()}


def apply(params, observation):
    """Logits f32[J] and value f32[]: of each job by its own features and the largest of all."""
    jobs = observation["job"]  # features f32[J, F], 0 where mask bool[J] is false
    hidden = jax.nn.relu(jobs.features @ params["in"])
    both = jax.nn.relu(hidden @ params["own"] + hidden.max(0) @ params["all"])
    return both @ params["score"], hidden.max(0) @ params["value"]


def main():
    env, run_dir = jaxsched.make("JobShop-v0"), new_run_dir()
    config = SelfLabelingConfig(num_updates=20, num_envs=16, num_samples=8)
    train(env, job_shop.uniform(4, 3), config, run_dir=run_dir, network=network)
    policy = greedy_policy(*load_policy(run_dir, env, network=network))
    played = jaxsched.rollout(env, random.key(0), job_shop.load("ft06"), policy)
    print(f"makespan of ft06, whose optimum is 55: {played.objective}")


if __name__ == "__main__":
    main()
