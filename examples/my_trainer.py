"""An algorithm of one's own: REINFORCE, with the mean over several episodes of the same instance as
the baseline (Kwon et al., POMO, NeurIPS 2020).
"""

import dataclasses

import jax
import jax.numpy as jnp

import jaxsched
from jaxsched.envs import job_shop
from jaxsched.policies import MaskedCategorical, greedy_policy
from jaxsched.policies.network import NetworkConfig, example_observation
from jaxsched.training import ALGORITHMS, Algorithm, Lesson, TrainConfig, new_run_dir, train
from jaxsched.training.episodes import play as play_episode
from jaxsched.training.update import mean_metrics


@dataclasses.dataclass(frozen=True)
class ReinforceConfig(TrainConfig):
    """The settings of the algorithm beside those that all share."""

    num_samples: int = 8  # episodes of each instance


def play(task, params, keys, env_id):
    """Episodes of one instance, [num_samples, ...], each with what it is better than their mean."""
    env, config, instance = task.env, task.config, task.source(keys.instance)

    def act(key, state, observation):
        logits, _ = task.apply(params, observation)
        return MaskedCategorical(logits, observation.action_mask).sample(key), None

    def sample(step_key):
        own, keep = keys.replace(step=step_key), config.keep == "observations"
        played = play_episode(env, instance, own, act, keep=keep)
        return played.episode, env.objective(played.final) / env.reward_scale(played.final)

    episode, objective = jax.vmap(sample)(jax.random.split(keys.step, config.num_samples))
    advantage = jnp.broadcast_to((objective.mean() - objective)[:, None], episode.action.shape)
    return Lesson(episode, (episode.action, advantage)), {"objective_over_scale": objective.mean()}


def finish(task, lessons, figures):
    """The episodes of all instances in one row, [num_envs * num_samples, ...]."""
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), lessons)
    return mean_metrics(task, flat, figures)


def loss(config, policy, value, target):
    """What makes the decisions of better episodes more probable, and those of worse ones less."""
    action, advantage = target
    return -advantage * policy.log_prob(action), {"entropy": policy.entropy()}


ALGORITHMS["reinforce"] = Algorithm(ReinforceConfig, play, loss, finish)


def main():
    env, source = jaxsched.make("JobShop-v0"), job_shop.uniform(4, 3)
    shops = jax.vmap(source)(jax.random.split(jax.random.key(1), 64))

    @jax.jit
    def greedy_makespan(params):
        key, policy = jax.random.key(0), greedy_policy(apply, params)
        played = jax.vmap(lambda shop: jaxsched.rollout(env, key, shop, policy))(shops)
        return played.objective.mean()

    network = NetworkConfig(width=16, num_layers=1)
    config = ReinforceConfig(num_updates=40, num_envs=16, network=network)
    apply, first = network(jax.random.key(0), example_observation(env, source))
    _, trained = train(env, source, config, run_dir=new_run_dir())
    before, after = greedy_makespan(first), greedy_makespan(trained.average)
    print(f"mean makespan of the greedy policy: {before:.1f} before training, {after:.1f} after it")


if __name__ == "__main__":
    main()
