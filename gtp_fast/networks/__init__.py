"""Networks over flat parameters of all seeds."""

from gtp_fast.networks.critic import TwinCritic
from gtp_fast.networks.flow_map import EMBEDDING, EMBEDDING_HIDDEN, FlowMapNetwork
from gtp_fast.networks.mlp import layers, mlp

__all__ = ["EMBEDDING", "EMBEDDING_HIDDEN", "FlowMapNetwork", "TwinCritic", "layers", "mlp"]
