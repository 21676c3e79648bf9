#include "vicreg/vicreg.h"
