"""Training that ends where its evaluation has not improved for a while."""

import math

import jaxsched
from jaxsched import evaluation
from jaxsched.envs import job_shop
from jaxsched.training import SelfLabelingConfig, new_run_dir, train


def patience(evaluations):
    """An `on_update` that stops after so many evaluations without a new best mean."""
    best, since = math.inf, 0

    def on_update(row, weights):
        nonlocal best, since
        if "evaluation" in row:
            mean = sum(row["evaluation"].values()) / len(row["evaluation"])
            best, since = min(best, mean), 0 if mean < best else since + 1
        return since >= evaluations

    return on_update


def main():
    env, source = jaxsched.make("JobShop-v0"), job_shop.uniform(4, 3)
    _, state = train(
        env,
        source,
        SelfLabelingConfig(num_updates=100, num_envs=8, num_samples=4),
        run_dir=new_run_dir(),
        evaluate=evaluation.tracker(env, {"4x3": source}),
        evaluate_every=5,
        on_update=patience(2),
    )
    print(f"stopped after {state.update} updates")


if __name__ == "__main__":
    main()
