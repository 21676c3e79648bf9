#include "warp/e2p.h"
