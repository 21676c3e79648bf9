// The contract of flow_gt.
#pragma once
