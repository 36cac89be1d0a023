"""The same fits in scikit-learn, skorch and hand-written JAX, which is a lower bound."""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import Array
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from skorch import NeuralNetClassifier, NeuralNetRegressor
from skorch.dataset import ValidSplit
from torch import nn

from benchmarks.plain import digits_data
from service.demo import T_C, T_U

VALIDATION = 0.2


def thermometer_data() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the scaled readings and the temperatures, float32 [11, 1] each."""
    t_u, t_c = np.array(T_U, np.float32)[:, None] * 0.1, np.array(T_C, np.float32)[:, None]
    return t_u, t_c


def sklearn_thermometer(epochs: int) -> None:
    """Fit 13 tanh units by gradient descent on the full batch."""
    inputs, targets = thermometer_data()
    model = MLPRegressor(
        hidden_layer_sizes=(13,),
        activation="tanh",
        solver="sgd",
        alpha=0.0,
        batch_size=9,
        learning_rate_init=1e-3,
        max_iter=epochs,
        momentum=0.0,
        tol=0.0,
        n_iter_no_change=epochs,
    )
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        model.fit(inputs[:9], targets[:9].ravel())


def sklearn_digits(epochs: int) -> None:
    """Fit a 64-128-10 network by Adam in batches of 32."""
    inputs, targets = (np.array(each) for each in digits_data())
    model = MLPClassifier(
        hidden_layer_sizes=(128,), alpha=0.0, batch_size=32, max_iter=epochs, n_iter_no_change=epochs
    )
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        model.fit(inputs[:1438], targets[:1438])


def skorch_thermometer(epochs: int) -> None:
    """Fit 13 tanh units by gradient descent on the full batch, with validation."""
    inputs, targets = thermometer_data()
    model = nn.Sequential(nn.Linear(1, 13), nn.Tanh(), nn.Linear(13, 1))
    split = ValidSplit(VALIDATION)
    NeuralNetRegressor(
        model,
        optimizer=torch.optim.SGD,
        lr=1e-3,
        max_epochs=epochs,
        batch_size=-1,
        train_split=split,
        verbose=0,
    ).fit(inputs, targets)


def skorch_digits(epochs: int) -> None:
    """Fit a 64-128-10 network by Adam in batches of 32, with validation."""
    inputs, targets = digits_data()
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    NeuralNetClassifier(
        model,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        max_epochs=epochs,
        batch_size=32,
        train_split=ValidSplit(VALIDATION),
        iterator_train__shuffle=True,
        verbose=0,
    ).fit(np.array(inputs, np.float32), np.array(targets))


def jax_thermometer(epochs: int) -> None:
    """Fit 13 tanh units in a single JAX program, which is compiled once."""
    inputs, targets = thermometer_data()
    keys = jax.random.split(jax.random.key(0))
    parameters = (
        jax.random.normal(keys[0], (1, 13)),
        jnp.zeros(13),
        jax.random.normal(keys[1], (13, 1)),
        jnp.zeros(1),
    )
    _, losses = _thermometer_loop(epochs)(parameters, inputs[:9], targets[:9], inputs[9:], targets[9:])
    losses[0].block_until_ready()


@cache
def _thermometer_loop(epochs: int) -> Callable[..., Any]:
    def loss(parameters: tuple[Array, ...], inputs: Array, targets: Array) -> Array:
        w, b, v, c = parameters
        return jnp.mean((jnp.tanh(inputs @ w + b) @ v + c - targets) ** 2)

    def run(parameters: Any, inputs: Array, targets: Array, val_inputs: Array, val_targets: Array) -> Any:
        def epoch(parameters: Any, _: None) -> Any:
            value, gradients = jax.value_and_grad(loss)(parameters, inputs, targets)
            row = (value, loss(parameters, val_inputs, val_targets))
            return jax.tree.map(lambda p, g: p - 1e-3 * g, parameters, gradients), row

        return jax.lax.scan(epoch, parameters, None, length=epochs)

    return jax.jit(run)


def jax_digits(epochs: int) -> None:
    """Fit a 64-128-10 network by Adam in a single JAX program; the incomplete last batch is dropped."""
    inputs, targets = digits_data()
    x, y = jnp.array(inputs, jnp.float32), jnp.array(targets)
    keys = jax.random.split(jax.random.key(0))
    parameters = (
        jax.random.normal(keys[0], (64, 128)) / 8,
        jnp.zeros(128),
        jax.random.normal(keys[1], (128, 10)) / 11,
        jnp.zeros(10),
    )
    orders = np.stack([np.random.permutation(1438)[:1408].reshape(44, 32) for _ in range(epochs)])
    _, losses = _digits_loop()(parameters, x, y, orders.reshape(-1, 32))
    losses.block_until_ready()


@cache
def _digits_loop() -> Callable[..., Any]:
    def loss(parameters: tuple[Array, ...], inputs: Array, targets: Array) -> Array:
        w, b, v, c = parameters
        logits = jax.nn.log_softmax(jax.nn.relu(inputs @ w + b) @ v + c)
        return -jnp.mean(jnp.take_along_axis(logits, targets[:, None], axis=1))

    def adam(p: Array, g: Array, m: Array, v: Array, t: Array) -> tuple[Array, Array, Array]:
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        return p - 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v

    def run(parameters: Any, inputs: Array, targets: Array, orders: Array) -> Any:
        def step(carry: Any, order: Array) -> Any:
            parameters, means, squares, count = carry
            value, gradients = jax.value_and_grad(loss)(parameters, inputs[order], targets[order])
            updated = [adam(*each, count) for each in zip(parameters, gradients, means, squares, strict=True)]
            return (*map(tuple, zip(*updated, strict=True)), count + 1), value

        zeros = jax.tree.map(jnp.zeros_like, parameters)
        return jax.lax.scan(step, (parameters, zeros, zeros, 1.0), orders)

    return jax.jit(run)
