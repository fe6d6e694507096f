// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "api/v1/member_names.h"
#include "api/v1/route.h"
#include "json/names.h"
#include "json/utf8.h"

namespace atl::api {
namespace {

constexpr size_t kMostShown = 64;

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// How many letters must be put in, taken out or changed, whatever their case.
size_t Distance(std::string_view from, std::string_view to) {
  std::vector<size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < from.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < to.size(); ++j) {
      size_t changed = diagonal + (Lower(from[i]) == Lower(to[j]) ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

// "snake_case" and the like are spelled without what joins them here.
std::string Joined(std::string_view name) {
  std::string joined;
  std::ranges::copy_if(name, std::back_inserter(joined),
                       [](char c) { return c != '_' && c != '-'; });
  return joined;
}

// The field that is probably meant, or "".
std::string_view NearestTo(std::string_view name, std::span<const Field> fields) {
  std::string_view nearest;
  size_t best = std::max<size_t>(1, name.size() / 3) + 1;
  for (const Field& field : fields) {
    size_t distance = Distance(Joined(name), field.name);
    // "timeout" for "timeoutMs".
    if (field.name.starts_with(name) && name.size() >= 3) distance = std::min<size_t>(distance, 1);
    if (distance >= best) continue;
    best = distance;
    nearest = field.name;
  }
  return nearest;
}

std::string KnownNames(std::span<const Field> fields) {
  std::string names;
  for (const Field& field : fields) {
    if (!names.empty()) names += ", ";
    names += fmt::format("\"{}\"", field.name);
  }
  return names;
}

}  // namespace

Result<void> CheckNames(std::span<const Field> fields, std::string_view body) {
  for (std::string_view name : json::PlainNames(body)) {
    // What is no UTF-8 is told to be no JSON.
    if (!json::IsUtf8(name) || std::ranges::find(fields, name, &Field::name) != fields.end()) {
      continue;
    }
    std::string_view shown = name.substr(0, kMostShown);
    shown.remove_suffix(json::IncompleteTail(shown));
    std::string_view nearest = name.size() > kMostShown ? "" : NearestTo(name, fields);
    std::string hint = nearest.empty() ? fmt::format("the fields are {}", KnownNames(fields))
                                       : fmt::format("did you mean \"{}\"?", nearest);
    return Fail(Code::kInvalidArgument, fmt::format("there is no field \"{}\": {}", shown, hint),
                "VALIDATION_FAILED");
  }
  return {};
}

Result<void> CheckMemberNames(std::span<const Field> fields, const json::Object& body,
                              std::string_view name) {
  std::optional<std::string> text = body.OptionalJson(name);
  return text ? CheckNames(fields, *text) : Result<void>();
}

}  // namespace atl::api
