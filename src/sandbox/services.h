// SPDX-License-Identifier: Apache-2.0
// Background processes that begin again whenever their sandbox is started: after a stop, after its
// end, with files of snapshots. They are processes like others (processes.h) but for a row that
// says what they are, and for their log, which goes on where it ended.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "async/task.h"
#include "base/result.h"
#include "db/database.h"
#include "sandbox/processes.h"
#include "sandbox/registry.h"

namespace atl::sandbox {

inline constexpr size_t kMostServices = 64;  // of a sandbox

struct Service {
  ProcessRequest request;
  bool keep_awake = false;  // while it runs its sandbox neither sleeps nor stops by itself
  int64_t created_at_ms = 0;
  std::string failure;  // why it could not be started when its sandbox was
};

// What it is shown as while its sandbox's agent does not know it.
ProcessInfo InfoOf(const Service& service);

// Of all sandboxes. What changes the table blocks.
class ServiceBook {
 public:
  explicit ServiceBook(db::Database& database) : database_(database) {}

  Result<void> Load();
  // In the order in which they were first started.
  std::vector<Service> Of(const std::string& iid) const;
  std::optional<Service> Find(const std::string& iid, const std::string& process) const;
  bool KeepsAwake(const std::string& iid) const;
  // TOO_MANY_SERVICES.
  Result<void> Put(const std::string& iid, Service service);
  // An empty id: all of them. One that is none is left alone.
  Result<void> Forget(const std::string& iid, const std::string& process);
  // A sandbox is gone, and its rows with it.
  void Drop(const std::string& iid);
  void NoteFailure(const std::string& iid, const std::string& process, std::string failure);

 private:
  db::Database& database_;
  mutable std::mutex mutex_;
  std::map<std::string, std::vector<Service>> of_;  // by iid
};

// Starts it now and from now on whenever the sandbox is started.
async::Task<Result<ProcessInfo>> StartService(Registry& registry, std::shared_ptr<Sandbox> sandbox,
                                              ProcessRequest request, bool keep_awake);
// It is a service no longer; what runs goes on.
async::Task<Result<void>> ForgetService(Registry& registry, std::shared_ptr<Sandbox> sandbox,
                                        std::string process);

// Of a sandbox that has just been started: those that do not run because memory was kept. What
// fails is noted, and is no failure of the sandbox.
async::Task<> StartServices(ServiceBook& book, std::shared_ptr<Sandbox> sandbox);
// Whether one runs that keeps it awake.
async::Task<bool> IsKeptAwake(ServiceBook& book, std::shared_ptr<Sandbox> sandbox);

}  // namespace atl::sandbox
