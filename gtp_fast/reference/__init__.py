"""The equations of Generative Trajectory Policies in plain PyTorch: the definition of what is
computed.

Numbers of equations are those of the paper (arXiv 2510.11499). Every tensor carries a leading seed
axis S; no reduction crosses it. Everything runs in float32 or float64 on any device and knows no
kernel. One subject a file, all of it named here.
"""

from gtp_fast.reference.critic import (
    Aggregate,
    aggregate,
    bellman,
    double_q_loss,
    expectile_loss,
    guidance_loss,
    scaled_target,
    softmax_value,
    td_loss,
    td_target,
)
from gtp_fast.reference.diffusion import (
    Diffusion,
    denoising_loss,
    diffusion,
    vp_betas,
    vp_marginal,
)
from gtp_fast.reference.flow_map import (
    PRECONDITIONINGS,
    clean_action,
    flow_map,
    jump,
    precondition,
)
from gtp_fast.reference.grid import (
    RHO,
    karras_nodes,
    noise_level,
    sampling_times,
    schedule,
    schedule_ceiling,
    stage_left,
)
from gtp_fast.reference.losses import (
    advantage_weights,
    consistency_residual,
    flow_map_loss,
    weigh,
)
from gtp_fast.reference.network import (
    ACTIVATIONS,
    adam,
    embed,
    gelu,
    join,
    layer_norm,
    mish,
    mlp,
    polyak,
    relu,
    sinusoid,
)
from gtp_fast.reference.perturbation import (
    U_MODES,
    Perturbation,
    draw_times,
    perturb,
    perturb_at,
)
from gtp_fast.reference.sampler import (
    FoldedPolicy,
    folded_sample,
    sample,
)

__all__ = [
    "ACTIVATIONS",
    "PRECONDITIONINGS",
    "RHO",
    "U_MODES",
    "Aggregate",
    "Diffusion",
    "FoldedPolicy",
    "Perturbation",
    "adam",
    "advantage_weights",
    "aggregate",
    "bellman",
    "clean_action",
    "consistency_residual",
    "denoising_loss",
    "diffusion",
    "double_q_loss",
    "draw_times",
    "embed",
    "expectile_loss",
    "flow_map",
    "flow_map_loss",
    "folded_sample",
    "gelu",
    "guidance_loss",
    "join",
    "jump",
    "karras_nodes",
    "layer_norm",
    "mish",
    "mlp",
    "noise_level",
    "perturb",
    "perturb_at",
    "polyak",
    "precondition",
    "relu",
    "sample",
    "sampling_times",
    "scaled_target",
    "schedule",
    "schedule_ceiling",
    "sinusoid",
    "softmax_value",
    "stage_left",
    "td_loss",
    "td_target",
    "vp_betas",
    "vp_marginal",
    "weigh",
]
