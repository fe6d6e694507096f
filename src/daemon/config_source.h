// SPDX-License-Identifier: Apache-2.0
// Single values of the configuration: from the environment (ATOLL_<SECTION>_<KEY>), else from the
// file. Remembers which keys were asked for.
#pragma once

#include <toml++/toml.h>

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace atl::daemon {

using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// BAD_CONFIG
Unexpected Bad(std::string_view where, std::string_view key, std::string_view why);

class Source {
 public:
  Source(toml::table table, std::string file, const Environment& environment)
      : table_(std::move(table)), file_(std::move(file)), environment_(environment) {}

  // `section` may name a table in a table: "snapshots.auto". Absent values leave `into` alone.
  Result<void> Read(std::string_view section, std::string_view key, std::string& into);
  Result<void> Read(std::string_view section, std::string_view key, bool& into);
  Result<void> Read(std::string_view section, std::string_view key, double& into, double least,
                    double most);
  Result<void> Read(std::string_view section, std::string_view key, uint32_t& into, uint32_t least,
                    uint32_t most);
  // "2G", or a number of bytes.
  Result<void> ReadBytes(std::string_view section, std::string_view key, uint64_t& into);
  // A list of strings; in the environment separated by commas.
  Result<void> ReadList(std::string_view section, std::string_view key,
                        std::vector<std::string>& into);
  // A key that nobody asked for is a typing error that would otherwise go unnoticed.
  Result<void> RefuseUnknown() const;

  const std::string& file() const { return file_; }

 private:
  struct Found {
    std::optional<std::string> text;  // from the environment
    toml::node* node = nullptr;       // from the file
    std::string where;
  };
  Found Find(std::string_view section, std::string_view key);
  Result<void> RefuseUnknownIn(const toml::table& table, const std::string& section) const;

  toml::table table_;
  std::string file_;
  const Environment& environment_;
  std::set<std::pair<std::string, std::string>> known_;
};

}  // namespace atl::daemon
