// The contract of e2p.
#pragma once
