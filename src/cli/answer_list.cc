// SPDX-License-Identifier: Apache-2.0
#include "cli/answer_list.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <utility>

namespace atl::cli {

Result<std::vector<boost::json::object>> ListOf(std::string_view answer, std::string_view name) {
  boost::system::error_code error;
  boost::json::value parsed = boost::json::parse(answer, error);
  boost::json::value* list =
      !error && parsed.is_object() ? parsed.get_object().if_contains(name) : nullptr;
  if (list == nullptr || !list->is_array()) {
    return Fail(Code::kBadGateway, fmt::format("the daemon's list of {} cannot be read", name));
  }
  std::vector<boost::json::object> objects;
  for (boost::json::value& item : list->get_array()) {
    if (item.is_object()) objects.push_back(std::move(item.get_object()));
  }
  return objects;
}

}  // namespace atl::cli
