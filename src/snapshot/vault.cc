// SPDX-License-Identifier: Apache-2.0
#include "snapshot/vault.h"

#include <fmt/format.h>

#include "base/log.h"
#include "sys/fd.h"

namespace atl::snapshot {
namespace {

constexpr std::chrono::seconds kRetryPause{1};

bool IsAbsent(const Error& error) { return ReasonOf(error) == "REPOSITORY_NOT_FOUND"; }

}  // namespace

Vault::Repo Vault::Opened() const {
  std::lock_guard guard(mutex_);
  return repository_;
}

Result<Vault::Repo> Vault::Open() {
  ASSIGN(std::shared_ptr<blob::Store> store, open_store_());
  repository::Options options = options_;
  ASSIGN(options.password, password_());
  auto opened = repository::Repository::Open(store, options);
  if (!opened && IsAbsent(opened.error())) {
    TRY(Make(*store, options));
    opened = repository::Repository::Open(store, options);
  }
  if (!opened) return Unexpected(std::move(opened).error());
  NoteKnown(store->name());
  Result<void> unlocked = (*opened)->RemoveOwnStaleLocks();
  if (!unlocked) log::Warning("remove stale locks: {}", unlocked.error().message);
  TRY((*opened)->Refresh());
  return Repo(std::move(*opened));
}

Result<void> Vault::Make(blob::Store& store, const repository::Options& options) {
  Result<std::string> known = known_file_.empty() ? std::string() : sys::ReadFile(known_file_);
  if (known && ("\n" + *known).contains("\n" + store.name() + "\n")) {
    return Fail(Code::kUnavailable,
                fmt::format("the repository in {} is gone: is the store mounted, is the bucket the "
                            "right one? `atoll repo init` makes a new one",
                            store.name()),
                "REPOSITORY_NOT_FOUND");
  }
  Result<void> made = repository::Repository::Init(store, options);
  if (made) log::Info("made a repository for snapshots in {}", store.name());
  // Another daemon may have made it at the same moment.
  if (!made && ReasonOf(made.error()) == "REPOSITORY_EXISTS") return {};
  return made;
}

void Vault::NoteKnown(const std::string& store) const {
  if (known_file_.empty()) return;
  Result<std::string> known = sys::ReadFile(known_file_);
  std::string text = known ? *known : std::string();
  if (("\n" + text).contains("\n" + store + "\n")) return;
  Result<void> written = sys::WriteFileAtomic(known_file_, text + store + "\n", 0600);
  if (!written) log::Warning("{}", written.error().message);
}

Result<Vault::Repo> Vault::Get() {
  if (Repo repository = Opened()) return repository;
  std::lock_guard turn(opening_);
  {
    std::lock_guard guard(mutex_);
    if (repository_) return repository_;
    if (failed_ && std::chrono::steady_clock::now() - failed_at_ < kRetryPause) {
      return Unexpected(failure_);
    }
  }
  Result<Repo> opened = Open();
  std::lock_guard guard(mutex_);
  if (!opened) {
    failed_ = true;
    failed_at_ = std::chrono::steady_clock::now();
    failure_ = std::move(opened).error().Wrap("open the repository of the snapshots");
    return Unexpected(failure_);
  }
  repository_ = *opened;
  refreshed_at_ = std::chrono::steady_clock::now();
  return repository_;
}

Result<Vault::Repo> Vault::GetFresh(std::chrono::milliseconds age) {
  ASSIGN(Repo repository, Get());
  auto now = std::chrono::steady_clock::now();
  {
    std::lock_guard guard(mutex_);
    if (now - refreshed_at_ <= age) return repository;
  }
  TRY(repository->Refresh());
  std::lock_guard guard(mutex_);
  refreshed_at_ = now;
  return repository;
}

}  // namespace atl::snapshot
