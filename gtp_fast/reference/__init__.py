"""The equations of Generative Trajectory Policies in plain PyTorch: the definition of what is
computed.

Numbers of equations are those of the paper (arXiv 2510.11499). Every tensor carries a leading seed
axis S; no reduction crosses it. Everything runs in float32 or float64 on any device and knows no
kernel. One subject a file, all of it named here.
"""

from gtp_fast.reference.consistency import (
    consistency_nodes,
    neighbour_loss,
)
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
from gtp_fast.reference.flow_matching import (
    bridge,
    completion,
    completion_loss,
    distillation_loss,
    euler,
    euler_times,
    policy_value_loss,
    velocity_loss,
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
    fourier,
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
from gtp_fast.reference.qipo import (
    SolverSteps,
    solver_steps,
    solver_times,
    support_loss,
    support_weights,
    vp_perturb,
)
from gtp_fast.reference.regression import (
    awr_weights,
    gaussian_log_density,
    squared_error,
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
    "SolverSteps",
    "adam",
    "advantage_weights",
    "aggregate",
    "awr_weights",
    "bellman",
    "bridge",
    "clean_action",
    "completion",
    "completion_loss",
    "consistency_nodes",
    "consistency_residual",
    "denoising_loss",
    "diffusion",
    "distillation_loss",
    "double_q_loss",
    "draw_times",
    "embed",
    "euler",
    "euler_times",
    "expectile_loss",
    "flow_map",
    "flow_map_loss",
    "folded_sample",
    "fourier",
    "gaussian_log_density",
    "gelu",
    "guidance_loss",
    "join",
    "jump",
    "karras_nodes",
    "layer_norm",
    "mish",
    "mlp",
    "neighbour_loss",
    "noise_level",
    "perturb",
    "perturb_at",
    "policy_value_loss",
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
    "solver_steps",
    "solver_times",
    "squared_error",
    "stage_left",
    "support_loss",
    "support_weights",
    "td_loss",
    "td_target",
    "velocity_loss",
    "vp_betas",
    "vp_marginal",
    "vp_perturb",
    "weigh",
]
