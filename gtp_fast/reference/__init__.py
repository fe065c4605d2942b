"""The equations of Generative Trajectory Policies in plain PyTorch: the definition of what is
computed.

Numbers of equations are those of the paper (arXiv 2510.11499). Every tensor carries a leading seed
axis S; no reduction crosses it. Everything runs in float32 or float64 on any device and knows no
kernel. One subject a file, all of it named here.
"""

from gtp_fast.reference.alias import alias_shares, alias_table
from gtp_fast.reference.embed import SINUSOID_SCALE, clock_size, embed, fourier, sinusoid
from gtp_fast.reference.flow_map import (
    PRECONDITIONINGS,
    clean_action,
    flow_map,
    jump,
    precondition,
)
from gtp_fast.reference.grid import (
    RHO,
    flow_times,
    karras_nodes,
    noise_level,
    sampling_times,
    schedule,
    schedule_ceiling,
    stage_left,
)
from gtp_fast.reference.health import (
    action_deviation,
    correlation,
    effective_share,
    mean_action_error,
    quartile_means,
    quartiles,
)
from gtp_fast.reference.loss import consistency_residual, flow_map_loss
from gtp_fast.reference.mlp import (
    ACTIVATIONS,
    Norm,
    affine,
    gelu,
    join,
    layer_norm,
    mish,
    mlp,
    relu,
)
from gtp_fast.reference.objectives import (
    FLOW_WEIGHTS,
    ORDERS,
    Offset,
    distance,
    flow_weight,
    half_jumps,
    mean_flow_target,
    solve,
)
from gtp_fast.reference.off_policy import (
    covered,
    energy_score,
    fqe_loss,
    held_out,
    policy_value,
    shifted_reward,
)
from gtp_fast.reference.perturb import (
    CONSISTENCY_WEIGHTS,
    U_MODES,
    Perturbation,
    consistency_weight,
    draw_times,
    lognormal_cdf,
    perturb,
    perturb_at,
    scaled_jumps,
)
from gtp_fast.reference.plans import (
    Plan,
    StepSchedule,
    consistency_plan,
    euler_plan,
    heun_plan,
    map_plan,
)
from gtp_fast.reference.returns import return_to_go
from gtp_fast.reference.rivals.consistency import consistency_nodes, neighbour_loss
from gtp_fast.reference.rivals.diffusion import (
    Diffusion,
    denoising_loss,
    diffusion,
    vp_betas,
    vp_marginal,
)
from gtp_fast.reference.rivals.flow_matching import (
    bridge,
    completion,
    completion_loss,
    distillation_loss,
    euler,
    euler_times,
    policy_value_loss,
    velocity_loss,
)
from gtp_fast.reference.rivals.qipo import (
    solver_schedule,
    solver_times,
    support_loss,
    support_weights,
    vp_perturb,
)
from gtp_fast.reference.rivals.regression import awr_weights, gaussian_log_density, squared_error
from gtp_fast.reference.rivals.values import (
    expectile_loss,
    guidance_loss,
    scaled_target,
    softmax_value,
)
from gtp_fast.reference.sampler import (
    FoldedPolicy,
    folded_sample,
    int8_inputs,
    sample,
)
from gtp_fast.reference.tally import Totals, finite_within, tally
from gtp_fast.reference.td import (
    Aggregate,
    aggregate,
    bellman,
    double_q_loss,
    td_loss,
    td_target,
)
from gtp_fast.reference.trajectory import trajectory_advantage, trajectory_weights
from gtp_fast.reference.weigh import (
    ADVANTAGE_SCALES,
    advantage_scale,
    advantage_weights,
    weigh,
)
