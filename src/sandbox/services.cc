// SPDX-License-Identifier: Apache-2.0
#include "sandbox/services.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "crypto/bytes.h"
#include "json/reader.h"
#include "json/writer.h"

namespace atl::sandbox {
namespace {

std::string Encode(const ProcessRequest& request) {
  const ExecRequest& program = request.program;
  json::Writer writer;
  writer.BeginObject().Field("command", program.command).Key("argv").BeginArray();
  for (const std::string& argument : program.argv) writer.String(argument);
  writer.EndArray().Key("env").BeginObject();
  for (const auto& [name, value] : program.env) writer.Field(name, value);
  writer.EndObject().Field("cwd", program.cwd).Field("user", program.user);
  writer.Field("restart", RestartName(request.restart)).EndObject();
  return writer.Take();
}

Result<ProcessRequest> Decode(std::string id, std::string_view text) {
  ProcessRequest request{.id = std::move(id), .program = {}};
  ASSIGN(json::Object object, json::Object::Parse(text));
  ASSIGN(request.program.command, object.String("command"));
  ASSIGN(auto argv, object.OptionalTextList("argv"));
  if (argv) request.program.argv = *std::move(argv);
  ASSIGN(request.program.env, object.OptionalTextMap("env"));
  ASSIGN(request.program.cwd, object.String("cwd"));
  ASSIGN(request.program.user, object.String("user"));
  ASSIGN(std::string restart, object.String("restart"));
  request.restart = ParseRestart(restart).value_or(Restart::kNever);
  return request;
}

auto IsOf(const std::string& process) {
  return [&process](const Service& service) { return service.request.id == process; };
}

}  // namespace

ProcessInfo InfoOf(const Service& service) {
  const ProcessRequest& request = service.request;
  return {.id = request.id,
          .display = DisplayOf(request.program),
          .cwd = request.program.cwd,
          .user = request.program.user,
          .error = service.failure.empty() ? "it has not been started" : service.failure,
          .status = ProcessStatus::kError,
          .restart = request.restart};
}

Result<void> ServiceBook::Load() {
  std::map<std::string, std::vector<Service>> loaded;
  {
    ASSIGN(db::Transaction transaction, database_.Begin());
    TRY(transaction.Execute("DELETE FROM services WHERE iid NOT IN (SELECT iid FROM sandboxes)"));
    {
      ASSIGN(db::Statement rows,
             transaction.Prepare("SELECT iid, process, program, keep_awake, created_at_ms FROM "
                                 "services ORDER BY created_at_ms, process"));
      while (true) {
        ASSIGN(bool more, rows.Step());
        if (!more) break;
        Service service{.keep_awake = rows.Int(3) != 0, .created_at_ms = rows.Int(4)};
        ASSIGN(service.request, Decode(rows.Text(1), rows.Text(2)));
        loaded[rows.Text(0)].push_back(std::move(service));
      }
    }
    TRY(transaction.Commit());
  }
  std::lock_guard guard(mutex_);
  of_ = std::move(loaded);
  return {};
}

std::vector<Service> ServiceBook::Of(const std::string& iid) const {
  std::lock_guard guard(mutex_);
  auto found = of_.find(iid);
  return found == of_.end() ? std::vector<Service>() : found->second;
}

std::optional<Service> ServiceBook::Find(const std::string& iid, const std::string& process) const {
  std::lock_guard guard(mutex_);
  auto found = of_.find(iid);
  if (found == of_.end()) return std::nullopt;
  auto service = std::ranges::find_if(found->second, IsOf(process));
  return service == found->second.end() ? std::nullopt : std::optional(*service);
}

bool ServiceBook::KeepsAwake(const std::string& iid) const {
  std::lock_guard guard(mutex_);
  auto found = of_.find(iid);
  return found != of_.end() && std::ranges::any_of(found->second, &Service::keep_awake);
}

Result<void> ServiceBook::Put(const std::string& iid, Service service) {
  service.created_at_ms = NowMs();
  {
    std::lock_guard guard(mutex_);
    auto found = of_.find(iid);
    if (found != of_.end() && found->second.size() >= kMostServices &&
        std::ranges::none_of(found->second, IsOf(service.request.id))) {
      return Fail(Code::kResourceExhausted,
                  fmt::format("a sandbox has at most {} services", kMostServices),
                  "TOO_MANY_SERVICES");
    }
  }
  {
    ASSIGN(db::Transaction transaction, database_.Begin());
    TRY(transaction.Execute(
        "INSERT OR REPLACE INTO services (iid, process, program, keep_awake, created_at_ms) "
        "SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM sandboxes WHERE iid = ?1)",
        iid, service.request.id, Encode(service.request), int64_t{service.keep_awake},
        service.created_at_ms));
    if (transaction.changes() == 0) {
      return Fail(Code::kNotFound, "the sandbox is gone", "SANDBOX_NOT_FOUND");
    }
    TRY(transaction.Commit());
  }
  std::lock_guard guard(mutex_);
  std::vector<Service>& all = of_[iid];
  std::erase_if(all, IsOf(service.request.id));
  all.push_back(std::move(service));
  return {};
}

Result<void> ServiceBook::Forget(const std::string& iid, const std::string& process) {
  {
    std::lock_guard guard(mutex_);
    auto found = of_.find(iid);
    bool has = found != of_.end() &&
               (process.empty() || std::ranges::any_of(found->second, IsOf(process)));
    if (!has) return {};
  }
  {
    ASSIGN(db::Transaction transaction, database_.Begin());
    TRY(transaction.Execute("DELETE FROM services WHERE iid = ?1 AND (?2 = '' OR process = ?2)",
                            iid, process));
    TRY(transaction.Commit());
  }
  std::lock_guard guard(mutex_);
  auto found = of_.find(iid);
  if (found == of_.end()) return {};
  if (!process.empty()) std::erase_if(found->second, IsOf(process));
  if (process.empty() || found->second.empty()) of_.erase(found);
  return {};
}

void ServiceBook::Drop(const std::string& iid) {
  std::lock_guard guard(mutex_);
  of_.erase(iid);
}

void ServiceBook::NoteFailure(const std::string& iid, const std::string& process,
                              std::string failure) {
  std::lock_guard guard(mutex_);
  auto found = of_.find(iid);
  if (found == of_.end()) return;
  auto service = std::ranges::find_if(found->second, IsOf(process));
  if (service != found->second.end()) service->failure = std::move(failure);
}

async::Task<Result<ProcessInfo>> StartService(Registry& registry, std::shared_ptr<Sandbox> sandbox,
                                              ProcessRequest request, bool keep_awake) {
  if (request.id.empty()) request.id = "svc-" + crypto::RandomHex(6);
  request.service = true;
  Service service{.request = request, .keep_awake = keep_awake};
  CO_ASSIGN(ProcessInfo info, co_await StartProcess(sandbox->agent(), std::move(request)));
  auto put = [&registry, &sandbox, &service] {
    return registry.services().Put(sandbox->iid(), std::move(service));
  };
  Result<void> kept = co_await registry.blocking().Run(put);
  if (kept) co_return info;
  Result<void> stopped = co_await StopProcess(sandbox->agent(), info.id);
  if (!stopped) {
    log::Warning("sandbox {}: {}: {}", sandbox->id(), info.id, stopped.error().message);
  }
  co_return Unexpected(std::move(kept).error());
}

async::Task<Result<void>> ForgetService(Registry& registry, std::shared_ptr<Sandbox> sandbox,
                                        std::string process) {
  auto forget = [&registry, &sandbox, &process] {
    return registry.services().Forget(sandbox->iid(), process);
  };
  Result<void> forgotten = co_await registry.blocking().Run(forget);
  co_return forgotten;
}

async::Task<> StartServices(ServiceBook& book, std::shared_ptr<Sandbox> sandbox) {
  std::vector<Service> services = book.Of(sandbox->iid());
  if (services.empty()) co_return;
  Result<std::vector<ProcessInfo>> there = co_await ListProcesses(sandbox->agent());
  for (Service& service : services) {
    auto is_it = [&](const ProcessInfo& info) { return info.id == service.request.id; };
    if (there && std::ranges::any_of(*there, is_it)) continue;
    std::string process = service.request.id;
    service.request.service = true;
    Result<ProcessInfo> started =
        co_await StartProcess(sandbox->agent(), std::move(service.request));
    std::string failure = started ? std::string() : started.error().message;
    if (!started) {
      log::Warning("sandbox {}: the service {} does not start: {}", sandbox->id(), process,
                   failure);
    }
    book.NoteFailure(sandbox->iid(), process, std::move(failure));
  }
}

async::Task<bool> IsKeptAwake(ServiceBook& book, std::shared_ptr<Sandbox> sandbox) {
  if (!book.KeepsAwake(sandbox->iid())) co_return false;
  for (const Service& service : book.Of(sandbox->iid())) {
    if (!service.keep_awake) continue;
    Result<ProcessInfo> info = co_await GetProcess(sandbox->agent(), service.request.id);
    if (info && info->status == ProcessStatus::kRunning) co_return true;
  }
  co_return false;
}

}  // namespace atl::sandbox
