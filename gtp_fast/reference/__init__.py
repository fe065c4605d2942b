"""The equations of Generative Trajectory Policies in plain PyTorch: the definition of what is
computed.

Numbers of equations are those of the paper (arXiv 2510.11499). Every tensor carries a leading seed
axis S; no reduction crosses it. Everything runs in float32 or float64 on any device and knows no
kernel. One subject a file, all of it named here.
"""

from gtp_fast.reference.critic import (
    double_q_loss,
    td_target,
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
)
from gtp_fast.reference.losses import (
    advantage_weights,
    consistency_residual,
    flow_map_loss,
)
from gtp_fast.reference.network import (
    adam,
    mish,
    polyak,
    sinusoid,
)
from gtp_fast.reference.objectives import (
    COMPARISONS,
    FLOW_WEIGHTS,
    ORDERS,
    Offset,
    distance,
    flow_weight,
    half_jumps,
    mean_flow_target,
    solve,
)
from gtp_fast.reference.perturbation import (
    T_LAWS,
    U_MODES,
    Perturbation,
    draw_times,
    lognormal_nodes,
    perturb,
    perturb_at,
)
from gtp_fast.reference.sampler import (
    FoldedPolicy,
    folded_sample,
    sample,
)

__all__ = [
    "COMPARISONS",
    "FLOW_WEIGHTS",
    "ORDERS",
    "PRECONDITIONINGS",
    "RHO",
    "T_LAWS",
    "U_MODES",
    "FoldedPolicy",
    "Offset",
    "Perturbation",
    "adam",
    "advantage_weights",
    "clean_action",
    "consistency_residual",
    "distance",
    "double_q_loss",
    "draw_times",
    "flow_map",
    "flow_map_loss",
    "flow_weight",
    "folded_sample",
    "half_jumps",
    "jump",
    "karras_nodes",
    "lognormal_nodes",
    "mean_flow_target",
    "mish",
    "noise_level",
    "perturb",
    "perturb_at",
    "polyak",
    "precondition",
    "sample",
    "sampling_times",
    "schedule",
    "schedule_ceiling",
    "sinusoid",
    "solve",
    "td_target",
]
