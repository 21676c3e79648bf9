"""Numbers of estimates against the truth.

`points`: errors in pixels and in space (`point_errors`; `root_relative_errors`, `aligned_errors` for PA-MPJPE), PCK
(`share_correct`, normalised by `body_length`), means and percentiles (`summarise`), tables by joint and view
(`summarise_along`). `cameras`: `camera_errors`.
"""
