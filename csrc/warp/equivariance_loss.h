// The contract of equivariance_loss.
#pragma once
