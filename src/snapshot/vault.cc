// SPDX-License-Identifier: Apache-2.0
#include "snapshot/vault.h"

#include <fmt/format.h>

#include <system_error>

#include "base/log.h"
#include "sys/fd.h"

namespace atl::snapshot {
namespace {

constexpr std::chrono::seconds kRetryPause{1};
// To derive a key and to read what a store near by has takes less.
constexpr std::chrono::seconds kUsualOpening{2};

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

Vault::~Vault() {
  if (opener_.joinable()) opener_.join();
}

void Vault::OpenForAll() {
  Result<Repo> opened = Open();
  std::lock_guard guard(mutex_);
  auto now = std::chrono::steady_clock::now();
  failed_ = !opened;
  if (opened) {
    repository_ = *std::move(opened);
    refreshed_at_ = now;
  } else {
    failed_at_ = now;
    failure_ = std::move(opened).error().Wrap("open the repository of the snapshots");
  }
  opening_ = false;
  ++openings_;
  opened_.notify_all();
}

Result<void> Vault::BeginOpening() {
  // The last one has ended, but for its last instructions.
  if (opener_.joinable()) opener_.join();
  try {
    opener_ = std::thread([this] { OpenForAll(); });
  } catch (const std::system_error& error) {
    return FailErrno(error.code().value(),
                     "start a thread to open the repository of the snapshots");
  }
  opening_ = true;
  opening_since_ = std::chrono::steady_clock::now();
  return {};
}

Result<Vault::Repo> Vault::Get(std::stop_token given_up) {
  std::unique_lock lock(mutex_);
  if (repository_) return repository_;
  if (!opening_) {
    if (failed_ && std::chrono::steady_clock::now() - failed_at_ < kRetryPause) {
      return Unexpected(failure_);
    }
    TRY(BeginOpening());
  }
  uint64_t before = openings_;
  auto over = [&] { return openings_ != before; };
  bool ended = opened_.wait(lock, given_up, over) ||
               opened_.wait_until(lock, opening_since_ + kUsualOpening, over);
  if (repository_) return repository_;
  if (ended) return Unexpected(failure_);
  return Fail(Code::kCancelled,
              "the repository of the snapshots is not open yet, and nobody waits for it here");
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
