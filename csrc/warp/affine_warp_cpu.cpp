#include "warp/affine_warp.h"
