// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <utility>

#include "api/sdk/handlers.h"
#include "api/sdk/shell_state.h"
#include "api/sdk/terms.h"
#include "sandbox/git_clone.h"

namespace atl::api::sdk {
namespace {

constexpr int64_t kMostDepth = 1'000'000'000;

struct Wanted {
  sandbox::CloneRequest request;
  std::string session;
};

Result<Wanted> ParseCheckout(const json::Object& body) {
  Wanted wanted;
  sandbox::CloneRequest& request = wanted.request;
  ASSIGN(request.repo, body.Text("repoUrl"));
  ASSIGN(request.branch, body.OptionalText("branch"));
  ASSIGN(request.dir, body.OptionalText("targetDir"));
  ASSIGN(request.depth, body.OptionalInt("depth", {.min = 1, .max = kMostDepth}));
  ASSIGN(wanted.session, SessionOf(body));
  ASSIGN(auto timeout, TimeoutOf(body, "timeoutMs"));
  if (timeout) request.timeout = *timeout;
  TRY(sandbox::ValidateRepoUrl(request.repo));
  if (request.branch && request.branch->empty()) request.branch.reset();
  if (request.branch) TRY(sandbox::ValidateBranch(*request.branch));
  return wanted;
}

using Outcome = std::optional<Result<sandbox::CloneResult>>;

async::Task<> CloneInto(std::shared_ptr<sandbox::Sandbox> sandbox, sandbox::CloneRequest request,
                        Outcome& outcome) {
  outcome = co_await sandbox::GitClone(std::move(sandbox), std::move(request));
}

async::Task<Result<std::string>> DoCheckout(Call& call) {
  CO_ASSIGN(Wanted wanted, ParseCheckout(call.body));
  sandbox::CloneRequest& request = wanted.request;
  call.About("repository", sandbox::RedactUrl(request.repo));
  if (request.branch) call.About("branch", *request.branch);
  CO_ASSIGN(auto sandbox, co_await Use(call));
  if (request.dir) {
    CO_ASSIGN(request.dir, co_await PathFrom(sandbox->agent(), wanted.session, *request.dir));
    request.dir = Joined(kWorkspace, *request.dir);
    call.About("targetDir", *request.dir);
  }
  Outcome outcome;
  co_await async::Race(CloneInto(std::move(sandbox), std::move(request), outcome),
                       call.exchange.WaitForHangup());
  if (!outcome) co_return Fail(Code::kCancelled, "the client has gone away");
  CO_ASSIGN(sandbox::CloneResult cloned, std::move(*outcome));
  json::Writer writer = Success();
  writer.Field("repoUrl", cloned.repo).Field("branch", cloned.branch);
  writer.Field("targetDir", cloned.dir).Field("commit", cloned.commit);
  co_return Finished(writer);
}

}  // namespace

async::Task<> GitCheckout(const Services& services, Values values, http::Exchange& exchange) {
  return AnswerJson(DoCheckout, services, std::move(values), exchange);
}

}  // namespace atl::api::sdk
