"""What each CUDA kernel may need of a multiprocessor, and what its machine code must hold.

A kernel that a public function launches and that has no row here fails a test, and so does a row
that nothing launches. Registers: up to 64 let four blocks of 256 threads share a multiprocessor, up
to 128 let two. The others' ceilings leave room for another release of the compiler.
"""

from dataclasses import dataclass

ARCHITECTURES = ((7, 5), (8, 0), (9, 0, "a"))  # the last as numba-cuda asks for it on Hopper
AMPERE = ARCHITECTURES[1:]  # with tensor cores that multiply tf32 and bfloat16
WIDE = (r"LDG\.E\.128", r"STG\.E\.128")
SHUFFLED = (r"SHFL\.BFLY",)


@dataclass(frozen=True)
class Row:
    """The ceiling of registers, the instructions that must be there, and whether float64 may."""

    registers: int = 64
    needs: tuple = ()
    double: bool = False
    architectures: tuple = ARCHITECTURES


_ELEMENTWISE = """
    relu relu_backward leaky_relu leaky_relu_backward relu6 relu6_backward elu elu_backward
    selu selu_backward gelu gelu_backward gelu_tanh gelu_tanh_backward quick_gelu
    quick_gelu_backward silu silu_backward sigmoid sigmoid_backward tanh tanh_backward softplus
    softplus_backward threshold threshold_backward hard_tanh hard_tanh_backward hard_sigmoid
    hard_sigmoid_backward hard_swish hard_swish_backward celu celu_backward swish swish_backward
    mish mish_backward softsign softsign_backward add multiply copy exp exp2 expm1 log log1p erf
    erfc standardize
"""
_WARPS = """
    _softmax_backward _log_softmax_backward weigh_labels sum_losses weigh_samples sum_segments
    put_segments _fold_channels _end_channels _end_channels_backward find_factor sum_squares
    _sum_products _end_product _pull_rows _shorten_rows tally_hits _observe_update _lay_out
    _connect
"""
_THREADS = """
    _sum _add_chunks _end_moments _end_forward _value_of_line _end_backward _value_of_slope _repeat
    _running_line _update_running _descend _descend_with_momentum _scale_by_rms _scale_by_deltas
    _adapt _adapt_by scale clip _penalize _draw_rows _draw_mask drop_each _shuffle
    _read_flat _write_flat gather_rows gather_items take_ticket advance
    take_rate _ema_weight _move_toward find_row
    _blur _drop_affinely _drop_units _spread_rates _drop_planes _fit_width _take_root
    draw_matrices resample _cover _draw_shares _blend _put_one
    _prelu _prelu_backward _swish _swish_backward _maxout _maxout_backward _crelu
    _crelu_backward _glu _glu_backward _put_largest _put_where_largest
    end_products _product _end_power _end_power_backward _apply_power
    _share_out _centre _divide _release _uncentre count_batch
"""
_SEGMENTS = "normalize_segments differentiate_rows differentiate_segments differentiate_units"
_NEEDS_NO_SHUFFLE = {"_lay_out", "put_segments", "weigh_samples"}

KERNELS = {
    **{name: Row(56, WIDE) for name in _ELEMENTWISE.split()},
    **{name: Row(64, () if name in _NEEDS_NO_SHUFFLE else SHUFFLED) for name in _WARPS.split()},
    **{name: Row(64) for name in _THREADS.split()},
    "tally_loss": Row(64, double=True),  # the sum of an epoch
    **{name: Row(64, double=True) for name in ("_plan_nadam", "_plan_radam")},  # ρ∞ - ... cancels
    "_observe": Row(96, SHUFFLED),
    **{name: Row(96, SHUFFLED) for name in _SEGMENTS.split()},
    "measure_chunks": Row(80),
    "_measure_gradients": Row(80),
    "_collect": Row(80),
    "product": Row(168, (r"FFMA", r"LDS(\.U)?\.128")),
    "sum_parts": Row(64),
    "product_tf32": Row(255, (r"HMMA\.1688\.F32\.TF32", "LDGSTS"), architectures=AMPERE),
    "product_bf16": Row(255, (r"HMMA\.16816\.F32\.BF16",), architectures=AMPERE),
    # 512 threads to a block
    **{name: Row(128, SHUFFLED) for name in ("softmax_rows", "log_softmax_rows")},
    "cross_entropy_labels": Row(128, SHUFFLED),
    "cross_entropy_probabilities": Row(128, SHUFFLED),
}
