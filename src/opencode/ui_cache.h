// SPDX-License-Identifier: Apache-2.0
// OpenCode's UI from a pristine start of the same version, served without asking the one inside.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "async/runtime.h"
#include "base/result.h"
#include "http/server.h"
#include "opencode/ui_manifest.h"

namespace atl::opencode {

class UiCache {
 public:
  // `dir` as scripts/cache_ui.py leaves it, of the executable `binary`. kNotFound: there is none;
  // kFailedPrecondition: it is another executable's. The page and what it names are read at once,
  // all else when it is first asked for; each is checked when it is read. Blocks.
  static Result<std::unique_ptr<UiCache>> Load(std::string dir, const std::string& binary,
                                               async::BlockingPool& pool);

  // What answers a GET or HEAD of this path; null: OpenCode itself. `navigation`: a person waits
  // for a page, so that views of the UI count.
  const UiFile* Match(const http::RequestHead& request, bool navigation) const;
  bool IsPage(const UiFile& file) const { return &file == &manifest_.index(); }

  // False when the file cannot be read any more or is not what it was; nothing is answered then.
  async::Task<bool> Answer(const UiFile& file, http::Exchange& exchange);

 private:
  using Content = std::shared_ptr<const std::string>;

  UiCache(std::string dir, UiManifest manifest, async::BlockingPool& pool);
  Result<void> ReadFirstPaint();
  async::Task<Content> ContentOf(const UiFile& file);

  const std::string dir_;
  const UiManifest manifest_;
  async::BlockingPool& pool_;
  std::mutex mutex_;
  std::unordered_map<std::string, Content> contents_;  // by SHA-256, what was asked for so far
};

}  // namespace atl::opencode
