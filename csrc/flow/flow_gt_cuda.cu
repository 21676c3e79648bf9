#include "flow/flow_gt.h"
