// SPDX-License-Identifier: Apache-2.0
#include "api/seed/seed.h"

#include <algorithm>

#include "api/seed/fork.h"
#include "api/seed/snapshots.h"

namespace atl::api {
namespace {

constexpr std::string_view kRestore = "/restore";

using Action = async::Task<> (*)(const Services&, std::string, http::Exchange&);

Action ActionOf(std::string_view path) {
  if (path == "/create") return Create;
  if (path == "/fork") return Fork;
  if (path == "/run") return Run;
  if (path == "/gitClone") return GitClone;
  if (path == "/snapshot") return Snapshot;
  return nullptr;
}

}  // namespace

async::Task<bool> Seed::Handle(std::string id, http::Exchange& exchange) {
  const http::RequestHead& request = exchange.request();
  std::string path(request.path());
  // Without an id too: a script whose variable is empty must not take OpenCode's page for success.
  bool restore = path == kRestore || path.starts_with("/restore/");
  Action action = ActionOf(path);
  if (path == "/" && request.method == "DELETE") {
    co_await Delete(services_, std::move(id), exchange);
    co_return true;
  }
  if (action == nullptr && !restore) co_return false;
  if (request.method != "POST") {
    co_await RespondMethodNotAllowed(exchange, "POST");
  } else if (restore) {
    co_await Restore(services_, std::move(id),
                     path.substr(std::min(path.size(), kRestore.size() + 1)), false, exchange);
  } else {
    co_await action(services_, std::move(id), exchange);
  }
  co_return true;
}

}  // namespace atl::api
