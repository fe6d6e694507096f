// SPDX-License-Identifier: Apache-2.0
#include "sandbox/ports.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <tuple>
#include <utility>

#include "base/clock.h"
#include "crypto/bytes.h"
#include "crypto/hmac.h"
#include "json/utf8.h"
#include "sys/fd.h"

namespace atl::sandbox {
namespace {

constexpr size_t kMaxToken = 16;
constexpr size_t kMaxLabel = 63;  // RFC 1035, 2.3.4
constexpr size_t kMaxName = 64;
constexpr size_t kMaxExposed = 64;  // ports of one sandbox
// 36^13 is more than 2^67.
constexpr size_t kRandomToken = 13;
constexpr std::chrono::seconds kSignedTtl{86'400};
constexpr std::chrono::seconds kMaxTtl{10L * 365 * 86'400};
// What is remembered of sandboxes that are gone.
constexpr int64_t kStaleAgeMs = 30L * 86'400'000;
constexpr int64_t kMaxStale = 10'000;
constexpr size_t kStoresBetweenLoads = 1'000;
constexpr size_t kKeyBytes = 32;

bool IsTokenCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

std::string RandomToken() {
  constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
  // The largest multiple of the alphabet's size: beyond it some letters would be likelier.
  constexpr unsigned kFair = 256 / kAlphabet.size() * kAlphabet.size();
  std::string token;
  while (token.size() < kRandomToken) {
    std::array<unsigned char, 32> bytes{};
    crypto::FillRandom(bytes);
    for (unsigned char byte : bytes) {
      if (byte < kFair && token.size() < kRandomToken) token += kAlphabet[byte % kAlphabet.size()];
    }
  }
  return token;
}

Result<void> ValidateName(std::string_view name) {
  bool clean = json::IsUtf8(name) && std::ranges::none_of(name, [](char c) {
                 return (c >= 0 && c < ' ') || c == '\x7f';
               });
  if (clean && name.size() <= kMaxName) return {};
  return Fail(Code::kInvalidArgument,
              fmt::format("name: at most {} bytes without control characters", kMaxName),
              "VALIDATION_FAILED");
}

Result<std::string> OpenKey(const std::string& path) {
  Result<std::string> key = sys::ReadFile(path, 1024);
  if (!key && key.error().code == Code::kNotFound) {
    std::string made = crypto::RandomHex(kKeyBytes);
    TRY(sys::WriteFileAtomic(path, made, 0600));
    return made;
  }
  if (!key) return key;
  if (!crypto::IsHex(*key, 2 * kKeyBytes)) {
    return Fail(Code::kFailedPrecondition,
                fmt::format("{} is not a key of preview URLs; without it a new one is made, and "
                            "URLs that were signed before are invalid",
                            path));
  }
  return key;
}

bool IsOver(const Exposure& exposure, int64_t now_ms) {
  return exposure.expires_at_ms != 0 && exposure.expires_at_ms <= now_ms;
}

Unexpected Stale(std::string why) {
  return Fail(Code::kGone, "This preview URL is no longer valid: " + std::move(why),
              "STALE_PREVIEW_URL");
}

Unexpected InvalidToken() {
  return Fail(Code::kNotFound, "This preview URL is not valid.", "INVALID_TOKEN");
}

}  // namespace

Result<void> ValidatePreviewToken(std::string_view token) {
  if (!token.empty() && token.size() <= kMaxToken && std::ranges::all_of(token, IsTokenCharacter)) {
    return {};
  }
  return Fail(Code::kInvalidArgument, "a token is 1 to 16 characters of a-z, 0-9 and _",
              "VALIDATION_FAILED");
}

std::string PreviewLabel(const Exposure& exposure) {
  return fmt::format("{}-{}--{}", exposure.port, exposure.id, exposure.token);
}

Result<std::unique_ptr<Ports>> Ports::Open(Registry& registry, db::Database& database,
                                           const std::string& state_dir) {
  ASSIGN(std::string key, OpenKey(state_dir + "/preview.key"));
  std::unique_ptr<Ports> ports(new Ports(registry, database, std::move(key)));
  TRY(ports->Load());
  return ports;
}

Result<void> Ports::Load() {
  std::map<std::string, std::vector<Exposure>, std::less<>> loaded;
  {
    ASSIGN(db::Transaction transaction, database_.Begin());
    TRY(
        transaction.Execute("DELETE FROM exposed_ports WHERE created_at_ms < ?1 AND "
                            "iid NOT IN (SELECT iid FROM sandboxes)",
                            NowMs() - kStaleAgeMs));
    TRY(transaction.Execute(
        "DELETE FROM exposed_ports WHERE rowid IN (SELECT rowid FROM exposed_ports WHERE iid NOT "
        "IN (SELECT iid FROM sandboxes) ORDER BY created_at_ms DESC LIMIT -1 OFFSET ?1)",
        kMaxStale));
    {
      ASSIGN(db::Statement rows,
             transaction.Prepare("SELECT iid, id, port, name, token, generation, signed, "
                                 "created_at_ms, expires_at_ms FROM exposed_ports "
                                 "ORDER BY created_at_ms"));
      while (true) {
        ASSIGN(bool more, rows.Step());
        if (!more) break;
        Exposure one{.iid = rows.Text(0),
                     .id = rows.Text(1),
                     .port = static_cast<uint16_t>(rows.Int(2)),
                     .name = rows.Text(3),
                     .token = rows.Text(4),
                     .generation = rows.Text(5),
                     .is_signed = rows.Int(6) != 0,
                     .created_at_ms = rows.Int(7),
                     .expires_at_ms = rows.Int(8)};
        loaded[one.id].push_back(std::move(one));
      }
    }
    TRY(transaction.Commit());
  }
  std::lock_guard guard(mutex_);
  exposures_ = std::move(loaded);
  stored_since_load_ = 0;
  return {};
}

async::Task<Result<Listening>> Ports::ListeningIn(std::string id) {
  if (!registry_.Find(id)) {
    co_return Fail(Code::kNotFound, fmt::format("there is no sandbox {}", id), "SANDBOX_NOT_FOUND");
  }
  std::shared_ptr<Sandbox> sandbox = registry_.Observe(id);
  if (!sandbox) co_return Listening();
  CO_ASSIGN(Listening listening, co_await sandbox->agent().ListListening());
  uint16_t own = sandbox->relay_port();
  std::erase_if(listening.sockets, [own](const ListeningSocket& one) {
    return one.port == own || one.port == kOpencodePort;
  });
  std::ranges::sort(listening.sockets, {}, [](const ListeningSocket& one) {
    return std::tuple(one.port, one.address.contains(':'), one.address);
  });
  co_return listening;
}

Result<void> Ports::CheckPort(std::string_view id, uint16_t port) const {
  std::shared_ptr<Sandbox> sandbox = registry_.Observe(id);
  bool own = port == kOpencodePort || (sandbox && port == sandbox->relay_port());
  if (port != 0 && !own) return {};
  if (port == 0) return Fail(Code::kInvalidArgument, "a port is 1 to 65535", "INVALID_PORT");
  return Fail(Code::kInvalidArgument, fmt::format("port {} inside is Atoll's own", port),
              "INVALID_PORT");
}

std::optional<Exposure> Ports::FindLive(std::string_view iid, uint16_t port,
                                        std::string_view id) const {
  int64_t now = NowMs();
  std::lock_guard guard(mutex_);
  auto found = exposures_.find(id);
  if (found == exposures_.end()) return std::nullopt;
  for (const Exposure& one : found->second) {
    if (one.iid == iid && one.port == port && !IsOver(one, now)) return one;
  }
  return std::nullopt;
}

async::Task<Result<Exposure>> Ports::Expose(std::string id, ExposeRequest request) {
  CO_TRY(CheckPort(id, request.port));
  CO_TRY(ValidateName(request.name));
  if (request.token) {
    CO_TRY(ValidatePreviewToken(*request.token));
  }
  if (request.is_signed && !request.ttl) request.ttl = kSignedTtl;
  if (request.ttl && (request.ttl->count() <= 0 || *request.ttl > kMaxTtl)) {
    co_return Fail(Code::kInvalidArgument, "ttl: a second to ten years", "VALIDATION_FAILED");
  }
  Exposure made{.id = id,
                .port = request.port,
                .name = std::move(request.name),
                .token = request.token ? std::move(*request.token) : RandomToken(),
                .generation = crypto::RandomHex(8),
                .is_signed = request.is_signed};
  if (PreviewLabel(made).size() > kMaxLabel) {
    co_return Fail(Code::kInvalidArgument,
                   fmt::format("{} has more than {} characters, which no host name may have: "
                               "choose a shorter token",
                               PreviewLabel(made), kMaxLabel),
                   "VALIDATION_FAILED");
  }
  auto ttl = request.ttl;
  auto store = [this, &made, ttl](const Info& info) -> Result<void> {
    made.iid = info.iid;
    made.created_at_ms = NowMs();
    if (ttl) made.expires_at_ms = made.created_at_ms + ttl->count() * 1000;
    return Store(made);
  };
  CO_TRY(co_await registry_.Locked(std::move(id), store));
  co_return made;
}

Result<void> Ports::Store(const Exposure& exposure) {
  if (FindLive(exposure.iid, exposure.port, exposure.id)) {
    return Fail(Code::kAlreadyExists, fmt::format("port {} is exposed already", exposure.port),
                "PORT_ALREADY_EXPOSED");
  }
  ASSIGN(std::vector<Exposure> others, Exposed(exposure.id));
  if (others.size() >= kMaxExposed) {
    return Fail(Code::kFailedPrecondition,
                fmt::format("{} ports are exposed, which is the most", kMaxExposed),
                "TOO_MANY_PORTS");
  }
  {
    ASSIGN(db::Transaction transaction, database_.Begin());
    TRY(transaction.Execute(
        "INSERT OR REPLACE INTO exposed_ports (iid, id, port, name, token, generation, signed, "
        "created_at_ms, expires_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        exposure.iid, exposure.id, int64_t{exposure.port}, exposure.name, exposure.token,
        exposure.generation, int64_t{exposure.is_signed}, exposure.created_at_ms,
        exposure.expires_at_ms));
    TRY(EventLog::Add(transaction, exposure.iid, exposure.id, "port", "",
                      fmt::format("port {} exposed", exposure.port)));
    TRY(transaction.Commit());
  }
  registry_.events().Notify();
  bool reload = false;
  {
    std::lock_guard guard(mutex_);
    std::vector<Exposure>& of_id = exposures_[exposure.id];
    std::erase_if(of_id, [&](const Exposure& one) {
      return one.iid == exposure.iid && one.port == exposure.port;
    });
    of_id.push_back(exposure);
    reload = ++stored_since_load_ >= kStoresBetweenLoads;
  }
  if (reload) TRY(Load());
  return {};
}

async::Task<Result<void>> Ports::Unexpose(std::string id, uint16_t port) {
  auto remove = [this, port](const Info& info) { return Remove(info, port); };
  CO_TRY(co_await registry_.Locked(std::move(id), remove));
  co_return Result<void>();
}

Result<void> Ports::Remove(const Info& info, uint16_t port) {
  bool was_there = false;
  {
    ASSIGN(db::Transaction transaction, database_.Begin());
    TRY(transaction.Execute("DELETE FROM exposed_ports WHERE iid = ?1 AND port = ?2", info.iid,
                            int64_t{port}));
    was_there = transaction.changes() > 0;
    if (was_there) {
      TRY(EventLog::Add(transaction, info.iid, info.id, "port", "",
                        fmt::format("port {} no longer exposed", port)));
    }
    TRY(transaction.Commit());
  }
  if (was_there) registry_.events().Notify();
  std::lock_guard guard(mutex_);
  auto found = exposures_.find(info.id);
  if (found == exposures_.end()) return {};
  std::erase_if(found->second,
                [&](const Exposure& one) { return one.iid == info.iid && one.port == port; });
  if (found->second.empty()) exposures_.erase(found);
  return {};
}

Result<std::vector<Exposure>> Ports::Exposed(std::string_view id) const {
  std::optional<Info> info = registry_.Find(id);
  if (!info) {
    return Fail(Code::kNotFound, fmt::format("there is no sandbox {}", id), "SANDBOX_NOT_FOUND");
  }
  int64_t now = NowMs();
  std::vector<Exposure> live;
  std::lock_guard guard(mutex_);
  auto found = exposures_.find(id);
  if (found == exposures_.end()) return live;
  std::ranges::copy_if(found->second, std::back_inserter(live), [&](const Exposure& one) {
    return one.iid == info->iid && !IsOver(one, now);
  });
  std::ranges::sort(live, {}, &Exposure::port);
  return live;
}

std::string Ports::Sign(const Exposure& exposure, int64_t expires_at) const {
  std::string text = fmt::format("atoll preview 1\n{}\n{}\n{}\n{}", exposure.iid, exposure.port,
                                 exposure.generation, expires_at);
  return fmt::format("{}.{}", expires_at, crypto::Hex(crypto::HmacSha256(key_, text)));
}

std::string Ports::Signature(const Exposure& exposure) const {
  return Sign(exposure, exposure.expires_at_ms / 1000);
}

bool Ports::IsSignedFor(const Exposure& exposure, std::string_view signature) const {
  int64_t expires_at = 0;
  auto [end, error] =
      std::from_chars(signature.data(), signature.data() + signature.size(), expires_at);
  if (error != std::errc() || end == signature.data() + signature.size()) return false;
  return crypto::ConstantTimeEqual(signature, Sign(exposure, expires_at)) &&
         expires_at > NowMs() / 1000;
}

Result<Exposure> Ports::Admit(std::string_view id, uint16_t port, std::string_view token,
                              const std::vector<std::string>& signatures) const {
  std::optional<Info> info = registry_.Find(id);
  std::vector<Exposure> candidates;
  {
    std::lock_guard guard(mutex_);
    auto found = exposures_.find(id);
    if (found == exposures_.end()) return InvalidToken();
    std::ranges::copy_if(found->second, std::back_inserter(candidates), [&](const Exposure& one) {
      return one.port == port && crypto::ConstantTimeEqual(one.token, token);
    });
  }
  if (candidates.empty()) return InvalidToken();
  for (Exposure& one : candidates) {
    if (!info || one.iid != info->iid) continue;
    if (IsOver(one, NowMs())) return Stale("its time is over.");
    auto fits = [&](const std::string& signature) { return IsSignedFor(one, signature); };
    if (one.is_signed && std::ranges::none_of(signatures, fits)) return InvalidToken();
    return std::move(one);
  }
  return Stale("its sandbox was deleted.");
}

}  // namespace atl::sandbox
