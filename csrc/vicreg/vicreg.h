// The contract of vicreg.
#pragma once
