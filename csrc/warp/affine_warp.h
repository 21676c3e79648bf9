// The contract of affine_warp.
#pragma once
