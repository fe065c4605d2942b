"""GTP's update in JAX, jitted, many updates in one call: a strong rival that is easy to write."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gtp_fast import reference
from gtp_fast.agents.gtp import GTP, GTPConfig

Tree = Any


def _mish(x: Any) -> Any:
    e = jnp.exp(jnp.minimum(x, 20.0))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


def _mlp(layers: Tree, x: Any) -> Any:
    for w, b in layers[:-1]:
        x = _mish(x @ w + b)
    w, b = layers[-1]
    return x @ w + b


def _split(flat: np.ndarray, sizes: list[int]) -> Tree:
    layers, offset = [], 0
    for n_in, n_out in pairwise(sizes):
        w = flat[..., offset : offset + n_in * n_out].reshape(*flat.shape[:-1], n_in, n_out)
        offset += n_in * n_out
        b = flat[..., offset : offset + n_out]
        offset += n_out
        layers.append((jnp.asarray(w), jnp.asarray(b[..., None, :])))
    return layers, offset


class JaxUpdate:
    """One seed of an agent in JAX, from that agent's initial parameters.

    `many(state, rows, n)` does n updates with JAX's own random numbers in one call; `step` does one
    on given draws.
    """

    def __init__(self, agent: GTP):
        self.config: GTPConfig = agent.config
        c, o, a = agent.config, agent.observation_dim, agent.action_dim
        self.o, self.a = o, a
        flat = agent.actor.parameters.flat[0].detach().numpy()
        actor, at = [], 0
        for sizes in ([16, 32, 16], [16, 32, 16], [a + 32 + o] + [c.width] * c.depth + [a]):
            part, used = _split(flat[at:], sizes)
            actor.append(part)
            at += used
        critic_sizes = [o + a] + [c.width] * c.depth + [1]
        critic, _ = _split(agent.critic.learner.parameters.flat[:2].detach().numpy(), critic_sizes)
        self.nodes = jnp.asarray(
            reference.karras_nodes(c.first_nodes + 1, c.t_min, c.t_max).numpy()
        )
        self.times = reference.sampling_times(c.k, c.t_min, c.t_max).tolist()
        zeros = partial(jax.tree.map, jnp.zeros_like)
        copy = partial(jax.tree.map, jnp.array)
        self.state: Tree = {
            "actor": actor, "critic": critic, "actor_ema": copy(actor), "critic_ema": copy(critic),
            "actor_adam": (zeros(actor), zeros(actor)),
            "critic_adam": (zeros(critic), zeros(critic)),
            "count": jnp.zeros((), jnp.int32), "key": jax.random.PRNGKey(0),
        }  # fmt: skip
        self.one = jax.jit(self.step)
        self.many = jax.jit(self._many, static_argnames="n", donate_argnums=0)

    def _embed(self, clock: Tree, t: Any) -> Any:
        rate = 250.0 * 10_000.0 ** (-jnp.arange(8) / 7)
        angle = 0.25 * jnp.log(jnp.maximum(t, self.config.t_min))[:, None] * rate
        return _mlp(clock, jnp.concatenate((jnp.sin(angle), jnp.cos(angle)), -1))

    def _phi(self, p: Tree, s: Any, a: Any, t: Any, tau: Any, rows: int | None = None) -> Any:
        """The clean action; t and tau hold one time for all rows where `rows` is given."""
        e = jnp.concatenate((self._embed(p[0], t), self._embed(p[1], tau)), -1)
        if rows is not None:
            e = jnp.broadcast_to(e, (rows, e.shape[-1]))
        t = t[:, None]
        scale = jax.lax.rsqrt(t * t + 0.25)
        output = _mlp(p[2], jnp.concatenate((scale * a, e, s), -1))
        return 0.25 * scale * scale * a + 0.5 * t * scale * output

    def _act(self, p: Tree, s: Any, noise: Any) -> Any:
        a = self.times[0] * noise
        for t, tau in pairwise(self.times):
            phi = self._phi(p, s, a, jnp.array([t]), jnp.array([tau]), len(s))
            a = tau / t * a + (1 - tau / t) * phi
        return jnp.clip(a, -1, 1)

    def step(
        self, state: Tree, batch: Tree, noises: Tree, n_t: Any, n_tau: Any
    ) -> tuple[Tree, Any]:
        """Update on a batch and given draws: noise of a' and V(s) [2 B, A], of the perturbation."""
        c = self.config
        s, a, reward, after, mask = batch
        b = len(s)
        q = lambda p, s, a: _mlp(p, jnp.concatenate((s, a), -1))[..., 0]  # noqa: E731
        actions = self._act(state["actor_ema"], jnp.concatenate((after, s)), noises[0])
        target = reward + c.discount * mask * q(state["critic_ema"], after, actions[:b]).min(0)
        critic_loss, gradient = jax.value_and_grad(
            lambda p: ((q(p, s, a) - target) ** 2).mean(1).sum()
        )(state["critic"])
        count = state["count"] + 1
        critic, critic_adam = _adam(
            state["critic"], gradient, state["critic_adam"], count, c.critic_learning_rate[0]
        )
        both = q(critic, jnp.concatenate((s, s)), jnp.concatenate((a, actions[b:]))).min(0)
        advantage = both[:b] - both[b:]
        exponent = c.eta[0] * jnp.maximum(advantage, 0) / (advantage.std() + 1e-6)
        w = jnp.minimum(jnp.exp(exponent), c.weight_maximum)[:, None]
        t, u, tau = (jnp.where(n > 0, self.nodes[n], 0.0) for n in (n_t, n_t - 1, n_tau))
        a_t, a_u = a + t[:, None] * noises[1], a + u[:, None] * noises[1]
        q_t = ((t - tau) / t)[:, None]
        q_u = jnp.where(u == tau, 0.0, (u - tau) / jnp.where(u > 0, u, 1.0))[:, None]
        aim = q_u * (self._phi(state["actor_ema"], s, a_u, u, tau) - a)

        def losses(p: Tree) -> tuple[Any, Any]:
            phi = self._phi(
                p, jnp.tile(s, (2, 1)), jnp.tile(a_t, (2, 1)), jnp.tile(t, 2),
                jnp.concatenate((tau, t)),
            )  # fmt: skip
            consistency = (w * (q_t * (phi[:b] - a) - aim) ** 2).sum(-1).mean()
            flow = (w * (phi[b:] - a) ** 2).sum(-1).mean()
            return consistency + c.lambda_flow[0] * flow, (consistency, flow)

        (_, (consistency, flow)), gradient = jax.value_and_grad(losses, has_aux=True)(
            state["actor"]
        )
        actor, actor_adam = _adam(
            state["actor"], gradient, state["actor_adam"], count, c.learning_rate[0]
        )
        return {
            "actor": actor, "critic": critic, "count": count, "key": state["key"],
            "actor_ema": _follow(state["actor_ema"], actor, c.ema_rate),
            "critic_ema": _follow(state["critic_ema"], critic, c.critic_ema_rate),
            "actor_adam": actor_adam, "critic_adam": critic_adam,
        }, jnp.stack((critic_loss, consistency, flow))  # fmt: skip

    def _many(self, state: Tree, rows: Any, n: int) -> tuple[Tree, Any]:
        b, o, a = self.config.batch_size, self.o, self.a

        def one(state: Tree, _: None) -> tuple[Tree, Any]:
            key, *keys = jax.random.split(state["key"], 6)
            data = rows[jax.random.randint(keys[0], (b,), 0, len(rows))]
            s, action, reward, after, mask = jnp.split(
                data, (o, o + a, o + a + 1, 2 * o + a + 1), 1
            )
            batch = (s, action, reward[:, 0], after, mask[:, 0])
            noises = jax.random.normal(keys[1], (2 * b, a)), jax.random.normal(keys[2], (b, a))
            n_t = jax.random.randint(keys[3], (b,), 1, len(self.nodes))
            n_tau = (jax.random.uniform(keys[4], (b,)) * n_t).astype(jnp.int32)
            return self.step(dict(state, key=key), batch, noises, n_t, n_tau)

        return jax.lax.scan(one, state, None, n)


def _adam(p: Tree, gradient: Tree, moments: Tree, count: Any, rate: float) -> tuple[Tree, Tree]:
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], gradient)
    one, two = 1 - 0.9**count, 1 - 0.999**count
    step = lambda x, m, v: x - rate * (m / one) / (jnp.sqrt(v / two) + 1e-8)  # noqa: E731
    return jax.tree.map(step, p, first, second), (first, second)


def _follow(average: Tree, online: Tree, rate: float) -> Tree:
    return jax.tree.map(lambda x, y: x + rate * (y - x), average, online)


def advance(update: JaxUpdate, rows: Any, count: int) -> None:
    """Do so many updates in one call and wait for them."""
    update.state, losses = update.many(update.state, rows, count)
    jax.block_until_ready(losses)
