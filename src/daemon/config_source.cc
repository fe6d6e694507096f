// SPDX-License-Identifier: Apache-2.0
#include "daemon/config_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "http/message.h"
#include "sandbox/limits.h"

namespace atl::daemon {
namespace {

std::vector<std::string> Split(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    size_t comma = text.find(',');
    std::string_view item = http::Trim(text.substr(0, comma));
    if (!item.empty()) items.emplace_back(item);
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  return items;
}

}  // namespace

Unexpected Bad(std::string_view where, std::string_view key, std::string_view why) {
  return Fail(Code::kInvalidArgument, fmt::format("{}: {} {}", where, key, why), "BAD_CONFIG");
}

Source::Found Source::Find(std::string_view section, std::string_view key) {
  std::string name = "ATOLL_";
  if (!section.empty()) name += fmt::format("{}_", section);
  name += key;
  std::ranges::transform(name, name.begin(), [](unsigned char c) {
    return c == '.' ? '_' : static_cast<char>(std::toupper(c));
  });
  known_.emplace(section, key);
  Found found;
  if (std::optional<std::string> text = environment_(name)) {
    found.text = std::move(text);
    found.where = name;
    return found;
  }
  toml::table* table = &table_;
  for (std::string_view rest = section; !rest.empty() && table != nullptr;) {
    std::string_view part = rest.substr(0, rest.find('.'));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    toml::node* node = table->get(part);
    table = node == nullptr ? nullptr : node->as_table();
  }
  if (table != nullptr) found.node = table->get(key);
  found.where = file_;
  return found;
}

Result<void> Source::Read(std::string_view section, std::string_view key, bool& into) {
  Found found = Find(section, key);
  if (found.text) {
    if (*found.text != "true" && *found.text != "false") {
      return Bad(found.where, key, "must be true or false");
    }
    into = *found.text == "true";
  } else if (found.node != nullptr) {
    if (!found.node->is_boolean()) return Bad(found.where, key, "must be true or false");
    into = found.node->as_boolean()->get();
  }
  return {};
}

Result<void> Source::Read(std::string_view section, std::string_view key, uint32_t& into,
                          uint32_t least, uint32_t most) {
  auto number = static_cast<double>(into);
  TRY(Read(section, key, number, least, most));
  into = static_cast<uint32_t>(number);
  return {};
}

Result<void> Source::RefuseUnknownIn(const toml::table& table, const std::string& section) const {
  for (const auto& [key, node] : table) {
    std::string name(key.str());
    if (known_.contains({section, name})) continue;
    std::string inner = section.empty() ? name : fmt::format("{}.{}", section, name);
    bool has_known = std::ranges::any_of(known_, [&](const auto& known) {
      return known.first == inner || known.first.starts_with(inner + ".");
    });
    if (!node.is_table() || !has_known) {
      return Bad(file_, section.empty() ? name : fmt::format("[{}] {}", section, name),
                 "is not a known key");
    }
    TRY(RefuseUnknownIn(*node.as_table(), inner));
  }
  return {};
}

Result<void> Source::RefuseUnknown() const { return RefuseUnknownIn(table_, ""); }

Result<void> Source::Read(std::string_view section, std::string_view key, std::string& into) {
  Found found = Find(section, key);
  if (found.text) {
    into = *found.text;
  } else if (found.node != nullptr) {
    if (!found.node->is_string()) return Bad(found.where, key, "must be a string");
    into = found.node->as_string()->get();
  }
  return {};
}

Result<void> Source::Read(std::string_view section, std::string_view key, double& into,
                          double least, double most) {
  Found found = Find(section, key);
  if (!found.text && found.node == nullptr) return {};
  std::optional<double> value;
  if (found.text) {
    char* end = nullptr;
    double number = std::strtod(found.text->c_str(), &end);
    if (!found.text->empty() && *end == '\0') value = number;
  } else if (found.node->is_number()) {
    value = found.node->value<double>();
  }
  if (!value || !(*value >= least && *value <= most)) {
    return Bad(found.where, key, fmt::format("must be a number from {} to {}", least, most));
  }
  into = *value;
  return {};
}

Result<void> Source::ReadBytes(std::string_view section, std::string_view key, uint64_t& into) {
  Found found = Find(section, key);
  if (!found.text && found.node == nullptr) return {};
  std::string text = found.text.value_or("");
  if (found.node != nullptr && !found.text) {
    if (found.node->is_string()) {
      text = found.node->as_string()->get();
    } else if (found.node->is_integer()) {
      text = fmt::to_string(found.node->as_integer()->get());
    }
  }
  Result<uint64_t> bytes = sandbox::ParseBytes(text);
  if (!bytes) return Bad(found.where, key, "must be a size such as \"2G\" or \"512M\"");
  into = *bytes;
  return {};
}

Result<void> Source::ReadList(std::string_view section, std::string_view key,
                              std::vector<std::string>& into) {
  Found found = Find(section, key);
  if (found.text) {
    into = Split(*found.text);
  } else if (found.node != nullptr) {
    const toml::array* array = found.node->as_array();
    if (array == nullptr) return Bad(found.where, key, "must be a list");
    into.clear();
    for (const toml::node& item : *array) {
      if (item.is_string()) {
        into.push_back(item.as_string()->get());
      } else if (item.is_integer()) {
        into.push_back(fmt::to_string(item.as_integer()->get()));
      } else {
        return Bad(found.where, key, "must be a list of strings or numbers");
      }
    }
  }
  return {};
}

}  // namespace atl::daemon
