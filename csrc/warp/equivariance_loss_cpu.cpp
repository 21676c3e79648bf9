#include "warp/equivariance_loss.h"
