// SPDX-License-Identifier: Apache-2.0
// Long work whose progress a client may follow. With `Accept: text/event-stream` the answer is a
// stream of {"type":"progress",…} events and one {"type":"complete",…} or {"type":"error",…};
// otherwise it is the result alone. The work goes on when the client leaves.
#pragma once

#include <functional>
#include <string>

#include "async/task.h"
#include "http/server.h"
#include "snapshot/progress.h"

namespace atl::api {

// Gives the members of the result as a JSON object. Owns what it needs.
using ProgressWork =
    std::function<async::Task<Result<std::string>>(snapshot::OnProgress on_progress)>;

async::Task<> RespondWithProgress(http::Exchange& exchange, ProgressWork work);

}  // namespace atl::api
