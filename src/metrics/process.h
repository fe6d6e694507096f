// SPDX-License-Identifier: Apache-2.0
// What this process takes of the host, under the names of
// https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
#pragma once

#include "metrics/metrics.h"

namespace atl::metrics {

void AddProcessMetrics(Set& set);

}  // namespace atl::metrics
