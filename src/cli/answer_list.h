// SPDX-License-Identifier: Apache-2.0
// Lists in what the daemon answers.
#pragma once

#include <boost/json/object.hpp>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace atl::cli {

// The objects of the list that an answer has as its member `name`.
Result<std::vector<boost::json::object>> ListOf(std::string_view answer, std::string_view name);

}  // namespace atl::cli
