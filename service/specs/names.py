"""Names of PyTorch's classes and functions that a spec can have, without importing PyTorch.

The published schema lists them, so that clients can complete them. An unknown name is refused by the tables
that build the components, with a suggestion. A test compares both.
"""

from typing import Annotated, Literal, get_args

from service.specs.base import published

LAYERS = (
    *("Linear", "Bilinear", "Identity"),
    *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "RReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish"),
    *("Tanh", "Hardtanh", "Tanhshrink", "Sigmoid", "LogSigmoid", "Hardsigmoid", "Hardswish"),
    *("Softplus", "Softsign", "Softshrink", "Hardshrink", "Threshold", "GLU"),
    *("Softmax", "Softmax2d", "LogSoftmax", "Softmin"),
    *("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"),
    *("Fold", "Unfold"),
    *("MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"),
    *("AvgPool1d", "AvgPool2d", "AvgPool3d", "LPPool1d", "LPPool2d", "LPPool3d"),
    *("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d"),
    *("AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d"),
    *("FractionalMaxPool2d", "FractionalMaxPool3d"),
    *("ZeroPad1d", "ZeroPad2d", "ZeroPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d"),
    *("ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d"),
    *("ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d"),
    *("CircularPad1d", "CircularPad2d", "CircularPad3d"),
    *("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LayerNorm", "RMSNorm", "GroupNorm"),
    *("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "LocalResponseNorm"),
    *("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"),
    *("Embedding", "EmbeddingBag"),
    *("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"),
    *("MultiheadAttention", "TransformerEncoderLayer", "TransformerDecoderLayer"),
    *("TransformerEncoder", "TransformerDecoder", "Transformer"),
    *("Flatten", "Unflatten", "PixelShuffle", "PixelUnshuffle", "ChannelShuffle"),
    *("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d"),
    *("CosineSimilarity", "PairwiseDistance"),
)
INITS = (
    *("zeros_", "ones_", "constant_", "normal_", "trunc_normal_", "uniform_", "eye_", "orthogonal_"),
    *("xavier_normal_", "xavier_uniform_", "kaiming_normal_", "kaiming_uniform_"),
)
LOSSES = (
    *("BCELoss", "BCEWithLogitsLoss", "CoxPHLoss", "CrossEntropyLoss", "GaussianNLLLoss"),
    *("HingeEmbeddingLoss", "HuberLoss", "KLDivLoss"),
    *("L1Loss", "MSELoss", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiMarginLoss"),
    *("NLLLoss", "PinballLoss", "PoissonNLLLoss", "SmoothL1Loss", "SoftMarginLoss"),
    "expression",
)
OPTIMIZERS = (
    *("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Muon", "NAdam", "RAdam"),
    *("RMSprop", "Rprop", "SGD"),
)
SCHEDULERS = (
    *("ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "ExponentialLR"),
    *("LinearLR", "MultiStepLR", "OneCycleLR", "PolynomialLR", "ReduceLROnPlateau", "StepLR"),
)
METRICS = (
    *("accuracy", "precision", "recall", "f1_score", "auroc", "concordance_index"),
    *("explained_variance", "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_error"),
    "r2_score",
)

CatalogKind = Literal[
    "layers", "functions", "inits", "losses", "optimizers", "schedulers", "metrics", "transforms"
]
CATALOG_KINDS: tuple[CatalogKind, ...] = get_args(CatalogKind)

LayerType = Annotated[str, published(enum=list(LAYERS))]
InitName = Annotated[str, published(enum=list(INITS), title="InitName")]
LossName = Annotated[str, published(enum=list(LOSSES), title="LossName")]
OptimizerName = Annotated[str, published(enum=list(OPTIMIZERS), title="OptimizerName")]
SchedulerName = Annotated[str, published(enum=list(SCHEDULERS), title="SchedulerName")]
MetricName = Annotated[str, published(enum=list(METRICS), title="MetricName")]
