"""Fast, verified kernels and training systems for keypoints, poses and correspondences across views.

Importing `refkp` needs torch and numpy only, builds nothing and touches no device. The kernels are in
`refkp.ops`, small geometry in `refkp.geometry`, and the training systems in `refkp.systems`.
"""

__version__ = "0.1.0"
