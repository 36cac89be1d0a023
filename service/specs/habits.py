"""Advice for names and fields of Keras, scikit-learn and other libraries: the JSON to write instead.

The tables map names of layers, losses and metrics, and unknown fields of each spec or class, to that JSON.
`{value}` stands for the value that the client sent, as JSON.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_MAX_VALUE_CHARACTERS = 60
_MAX_LAYERS = 20  # of a line that shows an architecture

# Names in other libraries, in lower case, by the catalog's kind, and the JSON to write.
NAMES: Mapping[str, Mapping[str, str]] = {
    "layers": {
        **dict.fromkeys(
            ("dense", "fc", "fullyconnected", "fully_connected", "inner_product"),
            '{"type": "Linear", "out_features": …}',
        ),
        **{f"conv{n}d": f'{{"type": "Conv{n}d", "out_channels": …, "kernel_size": …}}' for n in (1, 2, 3)},
        **{f"convolution{n}d": f'{{"type": "Conv{n}d", "out_channels": …}}' for n in (1, 2, 3)},
        **{f"maxpooling{n}d": f'{{"type": "MaxPool{n}d", "kernel_size": 2}}' for n in (1, 2, 3)},
        **{f"averagepooling{n}d": f'{{"type": "AvgPool{n}d", "kernel_size": 2}}' for n in (1, 2, 3)},
        **{
            f"global{kind}pooling{n}d": f'{{"type": "Adaptive{name}Pool{n}d", "output_size": 1}}'
            for kind, name in (("average", "Avg"), ("max", "Max"))
            for n in (1, 2, 3)
        },
        "batchnormalization": '{"type": "BatchNorm1d"}, or `BatchNorm2d` for images',
        "layernormalization": '{"type": "LayerNorm"}',
        "activation": 'the activation itself, such as {"type": "ReLU"}',
        "reshape": '{"type": "Unflatten", "dim": 1, "unflattened_size": […]}',
        "multiheadattention": '{"type": "MultiheadAttention", "num_heads": …}',
        **dict.fromkeys(
            ("input", "inputlayer"), "no layer: the size of the inputs is inferred from the data; remove it"
        ),
        **dict.fromkeys(
            ("add", "concatenate", "concat", "lambda"),
            'a `module` whose `forward` computes it, as "forward": "return torch.cat([self.a(x), x], 1)"',
        ),
    },
    "losses": {
        **dict.fromkeys(
            ("mse", "mean_squared_error", "squared_error", "l2"),
            '"loss": "MSELoss"',
        ),
        **dict.fromkeys(("mae", "mean_absolute_error", "absolute_error", "l1"), '"loss": "L1Loss"'),
        **dict.fromkeys(
            (
                *("cross_entropy", "crossentropy", "categorical_crossentropy", "log_loss"),
                *("sparse_categorical_crossentropy", "softmax_cross_entropy"),
            ),
            '"loss": "CrossEntropyLoss", and no Softmax as the last layer',
        ),
        **dict.fromkeys(
            ("binary_crossentropy", "binary_cross_entropy", "bce", "logistic", "bce_with_logits"),
            '"loss": "BCEWithLogitsLoss", and no Sigmoid as the last layer',
        ),
        **dict.fromkeys(("huber", "huber_loss"), '"loss": "HuberLoss"'),
        **dict.fromkeys(("nll", "nll_loss"), '"loss": "NLLLoss"'),
        **dict.fromkeys(
            ("kld", "kl_div", "kl_divergence", "kullback_leibler_divergence"), '"loss": "KLDivLoss"'
        ),
        "poisson": '"loss": "PoissonNLLLoss"',
        "hinge": '"loss": "MultiMarginLoss"',
    },
    "optimizers": {
        name: f'"optimizer": {{"type": "{written}", "lr": 0.01}}'
        for name, written in {
            **{"adam": "Adam", "sgd": "SGD", "rmsprop": "RMSprop", "adamw": "AdamW", "nadam": "NAdam"},
            **{"adagrad": "Adagrad", "adadelta": "Adadelta", "adamax": "Adamax", "momentum": "SGD"},
        }.items()
    },
    "metrics": {
        "acc": '"metrics": ["accuracy"]',
        **dict.fromkeys(("categorical_accuracy", "binary_accuracy"), '"metrics": ["accuracy"]'),
        "r2": '"metrics": ["r2_score"]',
        "f1": '"metrics": ["f1_score"]',
        **dict.fromkeys(("auc", "roc_auc"), '"metrics": ["auroc"]'),
        **dict.fromkeys(("mse", "MSE"), '"metrics": ["mean_squared_error"]'),
        **dict.fromkeys(("mae", "MAE"), '"metrics": ["mean_absolute_error"]'),
    },
}

ACTIVATIONS: Mapping[str, str] = {
    **{"relu": "ReLU", "tanh": "Tanh", "sigmoid": "Sigmoid", "logistic": "Sigmoid", "softmax": "Softmax"},
    **{"elu": "ELU", "selu": "SELU", "gelu": "GELU", "silu": "SiLU", "swish": "SiLU", "mish": "Mish"},
    **{"softplus": "Softplus", "leaky_relu": "LeakyReLU", "softsign": "Softsign"},
}
_NO_ACTIVATION = (None, "linear", "identity")


def _activation(value: Any) -> str:
    name = ACTIVATIONS.get(str(value), "ReLU")
    return f'an activation is a layer of its own; add {{"type": "{name}"}} after this one'


def _lines(layers: Sequence[Mapping[str, Any]]) -> str:
    shown = json.dumps({"type": "sequential", "layers": layers[:_MAX_LAYERS]})
    return shown if len(layers) <= _MAX_LAYERS else f"{shown[:-2]}, …]}}"


def _perceptron(value: Any) -> str:
    """Write the architecture of scikit-learn's `hidden_layer_sizes`."""
    sizes = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, int)]
    layers: list[dict[str, Any]] = []
    for size in sizes[:_MAX_LAYERS]:
        layers += [{"type": "Linear", "out_features": size}, {"type": "ReLU"}]
    return f'write "architecture": {_lines([*layers, {"type": "Linear", "out_features": 1}])}'


_KERAS_ARGUMENTS = {
    "units": "out_features",
    "filters": "out_channels",
    "kernel_size": "kernel_size",
    "rate": "p",
    "pool_size": "kernel_size",
}
_KERAS_LAYERS = {
    **{"Dense": "Linear", "Dropout": "Dropout", "Flatten": "Flatten", "BatchNormalization": "BatchNorm1d"},
    **{f"Conv{n}D": f"Conv{n}d" for n in (1, 2, 3)},
    **{f"MaxPooling{n}D": f"MaxPool{n}d" for n in (1, 2, 3)},
}


def _keras_layers(layers: Any) -> list[dict[str, Any]]:
    """Translate the first layers of a Keras model, as far as they have a counterpart."""
    written: list[dict[str, Any]] = []
    for layer in (layers if isinstance(layers, list) else [])[:_MAX_LAYERS]:
        config = layer.get("config") if isinstance(layer, dict) else None
        if not isinstance(config, dict) or not isinstance(name := layer.get("class_name"), str):
            continue
        if name in _KERAS_LAYERS:
            arguments = {
                ours: config[theirs]
                for theirs, ours in _KERAS_ARGUMENTS.items()
                if isinstance(config.get(theirs), int | float)
            }
            written.append({"type": _KERAS_LAYERS[name], **arguments})
        activation = config.get("activation")
        if activation not in _NO_ACTIVATION and str(activation) in ACTIVATIONS:
            written.append({"type": ACTIVATIONS[str(activation)]})
    return written


def _keras(value: Any) -> str:
    """Write the architecture of a `config` of Keras."""
    layers = _keras_layers(value.get("layers")) if isinstance(value, dict) else []
    shown = _lines(layers or [{"type": "Linear", "out_features": 1}])
    return f'this is a Keras model; write "architecture": {shown}'


_IN_TRAINING = 'it belongs to the training; write "training": {{"{name}": {value}, …}}'
_LEARNING_RATE = 'it is an argument of the optimizer; write "optimizer": {{"type": "Adam", "lr": {value}}}'
_TABLE = 'send the data as "data": {{"columns": {{"x": […], "y": […]}}, "features": ["x"], "targets": ["y"]}}'
_TENSORS = 'send tensors as "data": {{"inputs": [[…], …], "targets": [[…], …]}}'
_EPOCHS = 'write "epochs": {value}'
_SEED = 'write "seed": {value}'
_SPLIT = 'write "split": {{"validation": {value}}} in `data`'
_INFERRED = "the sizes of inputs are inferred from the data; remove it"
_INITIALIZATION = "a layer is initialized as in PyTorch; remove it"

_TRAINING: Mapping[str, str] = {
    **dict.fromkeys(("learning_rate", "lr", "learning_rate_init", "eta"), _LEARNING_RATE),
    **dict.fromkeys(
        ("weight_decay", "momentum", "betas"),
        'it belongs to the optimizer; write "optimizer": {{"type": "SGD", "lr": 0.01, "{name}": {value}}}',
    ),
    "alpha": 'write "optimizer": {{"type": "Adam", "weight_decay": {value}}}',
    **dict.fromkeys(("n_epochs", "num_epochs", "max_iter", "max_epochs", "nb_epoch", "n_iter"), _EPOCHS),
    **dict.fromkeys(("random_state", "random_seed"), _SEED),
    **dict.fromkeys(("loss_function", "criterion", "loss_fn"), 'write "loss": "MSELoss"'),
    "solver": 'write "optimizer": "Adam"',
    **dict.fromkeys(("validation_split", "validation_fraction", "test_size"), _SPLIT),
    **dict.fromkeys(("batchsize", "minibatch_size"), 'write "batch_size": {value}'),
    **dict.fromkeys(("callbacks", "n_iter_no_change"), 'write "early_stopping": {{"patience": 10}}'),
    "verbose": "the job shows its history and log; remove it",
}

_DATA: Mapping[str, str] = {
    **dict.fromkeys(("X", "y", "x"), _TENSORS),
    **dict.fromkeys(("target", "label", "labels", "output"), 'write "targets": ["y"], names of columns'),
    "feature": 'write "features": ["x"], names of columns',
    **dict.fromkeys(("validation_split", "test_size"), 'write "split": {{"validation": {value}}}'),
    "random_state": 'write "split": {{"validation": 0.2, "seed": {value}}}',
}
_OPTIMIZER: Mapping[str, str] = {
    "learning_rate": 'write "lr": {value}',
    "decay": 'write "weight_decay": {value}',
}
_RECURRENT: Mapping[str, str] = {"units": 'write "hidden_size": {value}'}

Remedy = str | Callable[[Any], str]
# Fields by the spec in which they are unknown; those of "" in any layer.
FIELDS: Mapping[str, Mapping[str, Remedy]] = {
    "JobRequest": {
        **_TRAINING,
        **dict.fromkeys(
            ("epochs", "loss", "optimizer", "batch_size", "metrics", "seed", "scheduler"), _IN_TRAINING
        ),
        **dict.fromkeys(("X", "x", "y", "X_train", "y_train", "labels", "input_data", "dataset"), _TABLE),
        **dict.fromkeys(
            ("inputs", "targets", "columns", "rows", "features", "dataset_id", "split"),
            'it belongs to the data; write "data": {{"{name}": …, …}}',
        ),
        "hidden_layer_sizes": _perceptron,
        "config": _keras,
        **dict.fromkeys(
            ("layers", "class_name", "model", "network", "net"),
            'describe the model as "architecture": {{"type": "sequential", "layers": [{{"type": "Linear", '
            '"out_features": 1}}]}}',
        ),
        "activation": _activation,
        **dict.fromkeys(
            ("metadata", "tags", "description", "user", "id"),
            'a job has no such field; a text for people is its "name": "…"',
        ),
    },
    "TrainingSpec": _TRAINING,
    "SequentialSpec": {"modules": 'write "layers": […]', "activation": _activation},
    **dict.fromkeys(
        ("InlineColumns", "InlineRows", "InlineSplit", "InlineTensors", "DatasetReference"), _DATA
    ),
    **dict.fromkeys(("SGD", "Adam", "AdamW", "RMSprop", "NAdam", "Adagrad", "Adamax"), _OPTIMIZER),
    "Linear": {"units": 'write "out_features": {value}', "output_dim": 'write "out_features": {value}'},
    "Embedding": {
        "input_dim": 'write "num_embeddings": {value}',
        "output_dim": 'write "embedding_dim": {value}',
    },
    **dict.fromkeys(("RNN", "LSTM", "GRU"), _RECURRENT),
    "": {
        "filters": 'write "out_channels": {value}',
        "strides": 'write "stride": {value}',
        "pool_size": 'write "kernel_size": {value}',
        "rate": 'write "p": {value}',
        "use_bias": 'write "bias": {value}',
        "epsilon": 'write "eps": {value}',
        "activation": _activation,
        **dict.fromkeys(("input_shape", "input_dim", "batch_input_shape"), _INFERRED),
        **dict.fromkeys(("kernel_initializer", "bias_initializer", "kernel_regularizer"), _INITIALIZATION),
        "return_sequences": "the whole sequence is returned; `x[:, -1]` in a `forward` is its end",
        "data_format": "images are [B, channels, height, width]; remove it",
    },
}


def field_advice(spec: str, name: str, value: Any) -> str | None:
    """Return the remedy for a field that a spec does not have.

    Args:
        spec: Name of the spec, or of the class whose arguments it has.
        name: Name of the field.
        value: What the client sent in it.

    Returns:
        The end of a sentence without a full stop; None for a field that is no known habit.
    """
    remedies = FIELDS.get(spec, {})
    remedy = remedies.get(name) or (None if spec.endswith(("Spec", "Request")) else FIELDS[""].get(name))
    if remedy is None or isinstance(remedy, str):
        return remedy and remedy.format(name=name, value=_shown(value))
    return remedy(value)


def name_advice(kind: str, name: str) -> str | None:
    """Return what to write for a name of another library.

    Args:
        kind: Kind of the catalog: `layers`, `losses`, `optimizers` or `metrics`.
        name: The unknown name.
    """
    return NAMES.get(kind, {}).get(name.lower())


def form_advice(value: Any) -> str | None:
    """Return what to write for a whole model or component in the form of another library; None if unknown."""
    if not isinstance(value, dict):
        return None
    if "hidden_layer_sizes" in value:
        return _perceptron(value["hidden_layer_sizes"])
    config = value.get("config")
    if isinstance(config, dict) and "layers" in config:
        return _keras(config)
    written = value.get("class_name")
    if not isinstance(written, str):
        return None
    layers = _keras_layers([value])
    return f"write {', '.join(map(json.dumps, layers))}" if layers else f'write {{"type": "{written}", …}}'


def _shown(value: Any) -> str:
    text = "…" if isinstance(value, dict | list) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_VALUE_CHARACTERS else "…"
