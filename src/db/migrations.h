// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

namespace atl::db {

struct Migration {
  std::string_view name;  // "0001_sandboxes"
  std::string_view sql;
};

// The files of migrations/, first to last. A database at version n has had the first n.
std::span<const Migration> Migrations();

}  // namespace atl::db
