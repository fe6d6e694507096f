// SPDX-License-Identifier: Apache-2.0
#include "opencode/ui_cache.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <utility>

#include "base/log.h"
#include "crypto/sha256.h"
#include "sys/fd.h"

namespace atl::opencode {
namespace {

Result<std::string> ReadChecked(const std::string& dir, const UiFile& file) {
  ASSIGN(std::string content,
         sys::ReadFile(fmt::format("{}/{}", dir, file.sha256), static_cast<size_t>(file.size)));
  if (content.size() != file.size || crypto::Sha256Hex(content) != file.sha256) {
    return Fail(Code::kInternal, fmt::format("{}/{} is not what it was", dir, file.sha256));
  }
  return content;
}

http::ResponseHead HeadOf(const UiFile& file) {
  http::ResponseHead head;
  head.headers = file.headers;
  head.headers.Set("ETag", file.etag());
  // The names below /assets hold a hash of the content.
  bool immutable = file.path.starts_with("/assets/");
  if (!head.headers.Has("Cache-Control")) {
    head.headers.Add("Cache-Control",
                     immutable ? "public, max-age=31536000, immutable" : "no-cache");
  }
  return head;
}

// A failure of writing means that the client has gone away.
async::Task<> Send(http::Exchange& exchange, http::ResponseHead head, std::string_view content) {
  Result<void> sent = co_await exchange.StartResponse(std::move(head));
  if (sent) sent = co_await exchange.Write(content);
  if (sent) sent = co_await exchange.Finish();
  if (!sent) exchange.Abort();
}

}  // namespace

UiCache::UiCache(std::string dir, UiManifest manifest, async::BlockingPool& pool)
    : dir_(std::move(dir)), manifest_(std::move(manifest)), pool_(pool) {}

Result<std::unique_ptr<UiCache>> UiCache::Load(std::string dir, const std::string& binary,
                                               async::BlockingPool& pool) {
  std::string path = dir + "/manifest.json";
  ASSIGN(std::string text, sys::ReadFile(path, kMaxManifestBytes));
  Result<UiManifest> manifest = ParseUiManifest(text);
  if (!manifest) return Unexpected(std::move(manifest).error().Wrap(path));
  struct stat status{};
  if (::stat(binary.c_str(), &status) != 0) return FailErrno(errno, binary);
  if (std::cmp_not_equal(status.st_size, manifest->binary_size)) {
    return Fail(Code::kFailedPrecondition,
                fmt::format("{} is of another OpenCode than {}", path, binary));
  }
  std::unique_ptr<UiCache> cache(new UiCache(std::move(dir), std::move(*manifest), pool));
  TRY(cache->ReadFirstPaint());
  return cache;
}

// The first page of a sandbox does not queue behind what blocks.
Result<void> UiCache::ReadFirstPaint() {
  ASSIGN(std::string page, ReadChecked(dir_, manifest_.index()));
  for (const auto& [path, file] : manifest_.files) {
    if (page.find('"' + path + '"') == std::string::npos) continue;
    ASSIGN(std::string content, ReadChecked(dir_, file));
    contents_.emplace(file.sha256, std::make_shared<const std::string>(std::move(content)));
  }
  contents_.emplace(manifest_.index().sha256, std::make_shared<const std::string>(std::move(page)));
  return {};
}

const UiFile* UiCache::Match(const http::RequestHead& request, bool navigation) const {
  if (request.method != "GET" && request.method != "HEAD") return nullptr;
  if (request.headers.Has("Upgrade")) return nullptr;
  auto found = manifest_.files.find(request.path());
  if (found != manifest_.files.end()) return &found->second;
  return navigation && IsUiRoute(request.path()) ? &manifest_.index() : nullptr;
}

async::Task<UiCache::Content> UiCache::ContentOf(const UiFile& file) {
  {
    std::lock_guard lock(mutex_);
    auto found = contents_.find(file.sha256);
    if (found != contents_.end()) co_return found->second;
  }
  auto read = [&] { return ReadChecked(dir_, file); };
  Result<std::string> content = co_await pool_.Run(std::move(read));
  if (!content) {
    log::Warning("serve {} of OpenCode's UI: {}", file.path, content.error().message);
    co_return nullptr;
  }
  auto shared = std::make_shared<const std::string>(std::move(*content));
  std::lock_guard lock(mutex_);
  co_return contents_.try_emplace(file.sha256, std::move(shared)).first->second;
}

async::Task<bool> UiCache::Answer(const UiFile& file, http::Exchange& exchange) {
  http::ResponseHead head = HeadOf(file);
  std::string known = exchange.request().headers.Joined("If-None-Match");
  if (MatchesEtag(known, file.etag())) {
    head.status = 304;
    Result<void> sent = co_await exchange.Respond(std::move(head), std::string());
    (void)sent;  // the client has gone away
    co_return true;
  }
  Content content = co_await ContentOf(file);
  if (!content) co_return false;
  head.headers.Set("Content-Length", fmt::to_string(content->size()));
  co_await Send(exchange, std::move(head), *content);
  co_return true;
}

}  // namespace atl::opencode
