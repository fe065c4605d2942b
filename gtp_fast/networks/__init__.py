"""Networks over flat parameters of all seeds."""

from gtp_fast.networks.mlp import (
    EMBEDDING,
    EMBEDDING_HIDDEN,
    FlowMapNetwork,
    TwinCritic,
    layers,
    mlp,
)

__all__ = ["EMBEDDING", "EMBEDDING_HIDDEN", "FlowMapNetwork", "TwinCritic", "layers", "mlp"]
