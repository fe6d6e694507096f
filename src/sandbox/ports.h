// SPDX-License-Identifier: Apache-2.0
// The ports of sandboxes: what listens inside, which of them have a preview URL, and who may use
// that. Knows nothing of HTTP.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "db/database.h"
#include "sandbox/registry.h"

namespace atl::sandbox {

// OpenCode's, which is served under the sandbox's own name alone.
inline constexpr uint16_t kOpencodePort = 4096;

// What the signature of a preview URL is called: a parameter, and a cookie.
inline constexpr std::string_view kPreviewAccess = "atoll_preview";

struct Exposure {
  std::string iid;
  std::string id;
  uint16_t port = 0;
  std::string name;
  std::string token;
  std::string generation;
  bool is_signed = false;  // the token alone is not enough
  int64_t created_at_ms = 0;
  int64_t expires_at_ms = 0;  // 0: never

  bool operator==(const Exposure&) const = default;
};

struct ExposeRequest {
  uint16_t port = 0;
  std::string name;
  std::optional<std::string> token;         // nothing: a random one
  std::optional<std::chrono::seconds> ttl;  // nothing: never, or a day when it is signed
  bool is_signed = false;
};

// 1 to 16 characters of a-z, 0-9 and _. VALIDATION_FAILED.
Result<void> ValidatePreviewToken(std::string_view token);

// `<port>-<id>--<token>`: the first label of the host that the preview has.
std::string PreviewLabel(const Exposure& exposure);

class Ports {
 public:
  // Reads what is exposed, and the key of signatures, which is made if there is none. Blocks.
  static Result<std::unique_ptr<Ports>> Open(Registry& registry, db::Database& database,
                                             const std::string& state_dir);

  // What programs inside listen on, without waking the sandbox: nothing when it does not run.
  async::Task<Result<Listening>> ListeningIn(std::string id);

  // INVALID_PORT, PORT_ALREADY_EXPOSED, VALIDATION_FAILED.
  async::Task<Result<Exposure>> Expose(std::string id, ExposeRequest request);
  // Nothing happens when it is not exposed.
  async::Task<Result<void>> Unexpose(std::string id, uint16_t port);
  // By port. SANDBOX_NOT_FOUND.
  Result<std::vector<Exposure>> Exposed(std::string_view id) const;

  // "<expiry in seconds>.<HMAC>": what who holds the URL of a signed exposure shows beside its
  // token.
  std::string Signature(const Exposure& exposure) const;
  // The exposure that a preview URL's parts belong to, while its sandbox exists. INVALID_TOKEN for
  // what was never valid or was taken back, STALE_PREVIEW_URL for what is over; neither says
  // whether there is such a sandbox. `signatures`: where there are several, one suffices.
  Result<Exposure> Admit(std::string_view id, uint16_t port, std::string_view token,
                         const std::vector<std::string>& signatures) const;

  // May this port be exposed, and reached? INVALID_PORT.
  Result<void> CheckPort(std::string_view id, uint16_t port) const;

 private:
  Ports(Registry& registry, db::Database& database, std::string key)
      : registry_(registry), database_(database), key_(std::move(key)) {}
  Result<void> Load();
  Result<void> Store(const Exposure& exposure);
  Result<void> Remove(const Info& info, uint16_t port);
  std::string Sign(const Exposure& exposure, int64_t expires_at) const;
  bool IsSignedFor(const Exposure& exposure, std::string_view signature) const;
  std::optional<Exposure> FindLive(std::string_view iid, uint16_t port, std::string_view id) const;

  Registry& registry_;
  db::Database& database_;
  const std::string key_;
  mutable std::mutex mutex_;
  // By id; those of sandboxes that are gone too, oldest first.
  std::map<std::string, std::vector<Exposure>, std::less<>> exposures_;
  size_t stored_since_load_ = 0;
};

}  // namespace atl::sandbox
